"""Cursors: how far a lagging session has received each room that it has no live feed of.

How the missing messages are read and sent is in delivery/backfill.py. MUST NOT switch greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_protocol.events import Closed, Opened
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.link import Signal


class Cursor:
    """Position in one room: all messages up to `seq` are in the outbox, or known to the client."""

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
        self.own_seq = own_seq  # seq of the last own message; not acknowledged yet if it is above `seq`
        self.presence_count = presence_count  # of the room at the start; if it has grown, some were missed
        self.client_knows = True  # whether the client has received `opened`, or knows the room otherwise
        self.opened_event: Opened | None = None  # to be sent first
        self.closed_event: Closed | None = None  # to be sent last, at `end_seq`
        self.end_seq: int | None = None

    def target_seq(self, room: Room) -> int:
        """Return the seq up to which the session is to be fed now."""
        return room.head if self.end_seq is None else self.end_seq

    def start_with(self, opened: Opened) -> None:
        """Send `opened` first; until then the client does not know the conversation."""
        self.client_knows = False
        self.opened_event = opened

    def end_with(self, room: Room, closed: Closed) -> None:
        """Feed up to the current head only, then send `closed`."""
        self.end_seq = room.head
        self.closed_event = closed

    def cancel_end(self) -> None:
        """Undo `end_with`: the conversation is open again, and `closed` was never sent."""
        self.end_seq = self.closed_event = None


class LaggingRooms:
    """All cursors of a session, since when it has been lagging (monotonic seconds), and what it was sent."""

    __slots__ = ("cursors", "logged", "messages_sent", "progress_signal", "since")

    def __init__(self, now: float) -> None:
        self.cursors: dict[Room, Cursor] = {}
        self.since = now
        self.messages_sent = 0
        self.logged = False  # whether the event log has reported it
        self.progress_signal: Signal | None = None  # of a greenlet that waits for progress

    def missing_messages(self) -> int:
        """Return the number of messages that are still to be sent."""
        return sum(max(0, cursor.target_seq(room) - cursor.seq) for room, cursor in self.cursors.items())

    def owes_own_message(self) -> bool:
        """Return whether an own message is stored but not acknowledged yet."""
        return any(cursor.own_seq > cursor.seq for cursor in self.cursors.values())

    def next_room(self) -> tuple[Room, Cursor]:
        """Return the room whose turn it is, and move it to the end of the queue."""
        room = next(iter(self.cursors))
        cursor = self.cursors.pop(room)
        self.cursors[room] = cursor
        return room, cursor

    def signal_progress(self) -> None:
        """Wake the greenlet that waits for progress, if there is one."""
        if self.progress_signal is not None:
            self.progress_signal.set()
            self.progress_signal = None
