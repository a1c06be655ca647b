"""The tails of all rooms, bounded in bytes together: the least recently written one gives way first.

MUST NOT switch greenlets.
"""

from typing import Final, Protocol

MAX_TAILS_BYTES: Final = 64 * 1024 * 1024
"""Bytes that the tails of all rooms have together, at most; a reader goes to the log for the rest. A room
adds at most `room.TAIL_BYTES` before the bound is checked."""


class TailOwner(Protocol):
    """A room, as far as its tail is concerned."""

    def drop_tail(self) -> None:
        """Drop the tail, and take its bytes off the total."""


class Tails:
    """The rooms that have a tail, by their last messages, and the bytes of all their tails.

    `total_bytes` and `order` are changed by the rooms, `newest` here: the room that was written last.
    """

    __slots__ = ("newest", "order", "total_bytes")

    def __init__(self) -> None:
        self.order: dict[TailOwner, None] = {}  # the least recently written first
        self.newest: TailOwner | None = None
        self.total_bytes = 0

    def note_written(self, room: TailOwner) -> None:
        """Note that another room was written than the last time; drop tails if there is too much of them."""
        self.order.pop(room, None)
        self.order[room] = None
        self.newest = room
        while self.total_bytes > MAX_TAILS_BYTES and len(self.order) > 1:
            next(iter(self.order)).drop_tail()
