"""The tails of all rooms, bounded in bytes together: those that were not written for longest give way first.

A room enters the queue when its tail begins, and is not moved with each message: that would cost every
batch. Instead a room that was written since it entered goes to the end when its turn comes, and the next one
is looked at ("second chance"). MUST NOT switch greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from chat_protocol.events import MessageEvent

MAX_TAILS_BYTES: Final = 64 * 1024 * 1024
"""Bytes that the tails of all rooms have together, at most; a reader goes to the log for the rest."""

MESSAGE_OVERHEAD_BYTES: Final = 900
"""Memory of a message in a tail besides its text, at most."""

NON_ASCII_BYTES: Final = 8
"""Memory of a character, at most: its code point, and the UTF-8 that was sent."""


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


def message_bytes(event: MessageEvent) -> int:
    """Return the bytes of memory that a message takes in a tail, at most."""
    text = event.message
    return (len(text) if text.isascii() else len(text) * NON_ASCII_BYTES) + MESSAGE_OVERHEAD_BYTES
