"""Cursors: how far a lagging session has received a room that it has no live feed of.

How the missing messages are read and sent is in delivery/backfill.py. MUST NOT switch greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_protocol.events import Closed, Opened


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

    def target_seq(self, head: int) -> int:
        """Return the seq up to which the session is to be fed now, in a room with this head."""
        return head if self.end_seq is None else self.end_seq

    def start_with(self, opened: Opened) -> None:
        """Send `opened` first; until then the client does not know the conversation."""
        self.client_knows = False
        self.opened_event = opened

    def end_with(self, seq: int, closed: Closed) -> None:
        """Feed up to `seq` only, then send `closed`."""
        self.end_seq = seq
        self.closed_event = closed

    def cancel_end(self) -> None:
        """Undo `end_with`: the conversation is open again, and `closed` was never sent."""
        self.end_seq = self.closed_event = None
