"""How far a session has come in rooms whose live feed it does not get: one cursor a room.

Knows seqs. Must not know how what is missing is read or sent (delivery/backfill.py). MUST NOT switch
greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_protocol.events import Closed, Opened
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.link import Signal


class Cursor:
    """Where a session stands in one room: everything up to `seq` is in its outbox, or known to its client."""

    __slots__ = ("first", "known", "last", "own", "seq", "shown", "until")

    def __init__(self, seq: int, shown: int, own: int = 0) -> None:
        self.seq = seq
        self.own = own  # the last own message, which is still to be acknowledged if it lies ahead
        self.shown = shown  # presences of the room told before: what came later was missed
        self.known = True  # its client has heard of the room
        self.first: Opened | None = None  # to be told before anything else
        self.last: Closed | None = None  # to be told at the end, at `until`
        self.until: int | None = None

    def target(self, room: Room) -> int:
        """Return the seq up to which the session is to be fed by now."""
        return room.head if self.until is None else self.until

    def begin(self, opened: Opened) -> None:
        """Let the feed begin with `opened`, of which the client has not heard."""
        self.known = False
        self.first = opened

    def end(self, room: Room, closed: Closed) -> None:
        """Let the feed end here, with `closed`."""
        self.until = room.head
        self.last = closed

    def resume(self) -> None:
        """Take the end back: the conversation is open again, and its closing was never told."""
        self.until = self.last = None


class Behind:
    """All cursors of a session, since when it is behind, and what it was fed since."""

    __slots__ = ("cursors", "messages", "signal", "since", "told")

    def __init__(self, now: float) -> None:
        self.cursors: dict[Room, Cursor] = {}
        self.since = now
        self.messages = 0
        self.told = False  # whether the log says so
        self.signal: Signal | None = None  # of whoever waits for progress

    def missing(self) -> int:
        """Return the messages that are still to be fed."""
        return sum(max(0, cursor.target(room) - cursor.seq) for room, cursor in self.cursors.items())

    def owes(self) -> bool:
        """Tell whether an own message is stored and not yet acknowledged."""
        return any(cursor.own > cursor.seq for cursor in self.cursors.values())

    def next(self) -> tuple[Room, Cursor]:
        """Return the room whose turn it is, and put it at the end of the queue."""
        room = next(iter(self.cursors))
        cursor = self.cursors.pop(room)
        self.cursors[room] = cursor
        return room, cursor

    def moved(self) -> None:
        """Let whoever waits for progress look again."""
        if self.signal is not None:
            self.signal.set()
            self.signal = None
