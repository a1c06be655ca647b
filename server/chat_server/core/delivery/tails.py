"""The tails of all rooms, bounded in bytes together: those that were not written for longest give way first.

A room enters the queue when its tail begins, and is not moved with each message: that would cost every
batch. Instead a room that was written since it entered goes to the end when its turn comes, and the next one
is looked at ("second chance"). MUST NOT switch greenlets.
"""

from typing import Final, Protocol

MAX_TAILS_BYTES: Final = 64 * 1024 * 1024
"""Bytes that the tails of all rooms have together, at most; a reader goes to the log for the rest."""


class TailOwner(Protocol):
    """A room, as far as its tail is concerned."""

    @property
    def head(self) -> int:
        """The last seq delivered."""

    def drop_tail(self) -> None:
        """Drop the tail, and take its bytes off the total."""


class Tails:
    """The rooms that have a tail, and the bytes of all their tails; both are changed by the rooms."""

    __slots__ = ("max_bytes", "queue", "total_bytes")

    def __init__(self) -> None:
        self.queue: dict[TailOwner, int] = {}  # -> head when the room entered, or when its turn was last
        self.total_bytes = 0
        self.max_bytes = MAX_TAILS_BYTES

    def shrink(self) -> None:
        """Drop tails until the others fit. The cost is that of as many messages as were written since."""
        while self.total_bytes > self.max_bytes and self.queue:
            room, head = next(iter(self.queue.items()))
            if room.head > head:
                del self.queue[room]
                self.queue[room] = room.head
            else:
                room.drop_tail()
