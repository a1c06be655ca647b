"""What a session lacks: its memberships with a cursor, in the order in which the backfill serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from chat_server.core.sessions.membership import Membership, RoomT

if TYPE_CHECKING:
    from chat_server.core.ports.link import Signal
    from chat_server.core.sessions.cursor import Cursor


class Lagging(Generic[RoomT]):
    """All memberships of a session that have a cursor, and since when it has been lagging (monotonic s)."""

    __slots__ = ("logged", "memberships", "messages_sent", "progress_signal", "since")

    def __init__(self, now: float) -> None:
        self.memberships: dict[Membership[RoomT], Cursor] = {}
        self.since = now
        self.messages_sent = 0
        self.logged = False  # whether the event log has reported it
        self.progress_signal: Signal | None = None  # of a greenlet that waits for progress

    def missing_messages(self) -> int:
        """Return the number of messages that are still to be sent."""
        return sum(
            max(0, cursor.target_seq(membership.room.head) - cursor.seq)
            for membership, cursor in self.memberships.items()
        )

    def owes_own_message(self) -> bool:
        """Return whether an own message is stored but not acknowledged yet."""
        return any(cursor.own_seq > cursor.seq for cursor in self.memberships.values())

    def next_membership(self) -> tuple[Membership[RoomT], Cursor]:
        """Return the membership whose turn it is, and move it to the end of the queue."""
        membership = next(iter(self.memberships))
        cursor = self.memberships.pop(membership)
        self.memberships[membership] = cursor
        return membership, cursor

    def signal_progress(self) -> None:
        """Wake the greenlet that waits for progress, if there is one."""
        if self.progress_signal is not None:
            self.progress_signal.set()
            self.progress_signal = None
