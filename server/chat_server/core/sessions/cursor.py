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

    __slots__ = (
        "client_knows",
        "closed_event",
        "end_seq",
        "opened_event",
        "own_seq",
        "presence_count",
        "seq",
    )

    def __init__(self, seq: int, presence_count: int, own_seq: int = 0) -> None:
        self.seq = seq
        self.own_seq = own_seq  # the last own message, which is still to be acknowledged if it lies ahead
        self.presence_count = presence_count  # presences of the room told before: what came later was missed
        self.client_knows = True  # its client has heard of the room
        self.opened_event: Opened | None = None  # to be told before anything else
        self.closed_event: Closed | None = None  # to be told at the end, at `until`
        self.end_seq: int | None = None

    def target_seq(self, room: Room) -> int:
        """Return the seq up to which the session is to be fed by now."""
        return room.head if self.end_seq is None else self.end_seq

    def start_with(self, opened: Opened) -> None:
        """Let the feed begin with `opened`, of which the client has not heard."""
        self.client_knows = False
        self.opened_event = opened

    def end_with(self, room: Room, closed: Closed) -> None:
        """Let the feed end here, with `closed`."""
        self.end_seq = room.head
        self.closed_event = closed

    def cancel_end(self) -> None:
        """Take the end back: the conversation is open again, and its closing was never told."""
        self.end_seq = self.closed_event = None


class LaggingRooms:
    """All cursors of a session, since when it is behind, and what it was fed since."""

    __slots__ = ("cursors", "logged", "messages_sent", "progress_signal", "since")

    def __init__(self, now: float) -> None:
        self.cursors: dict[Room, Cursor] = {}
        self.since = now
        self.messages_sent = 0
        self.logged = False  # whether the log says so
        self.progress_signal: Signal | None = None  # of whoever waits for progress

    def missing_messages(self) -> int:
        """Return the messages that are still to be fed."""
        return sum(max(0, cursor.target_seq(room) - cursor.seq) for room, cursor in self.cursors.items())

    def owes_own_message(self) -> bool:
        """Tell whether an own message is stored and not yet acknowledged."""
        return any(cursor.own_seq > cursor.seq for cursor in self.cursors.values())

    def next_room(self) -> tuple[Room, Cursor]:
        """Return the room whose turn it is, and put it at the end of the queue."""
        room = next(iter(self.cursors))
        cursor = self.cursors.pop(room)
        self.cursors[room] = cursor
        return room, cursor

    def signal_progress(self) -> None:
        """Let whoever waits for progress look again."""
        if self.progress_signal is not None:
            self.progress_signal.set()
            self.progress_signal = None
