"""Lists that fit into one frame.

Knows sizes and names. A frame of the server has at most 65,536 bytes (docs/protocol.md); lists stop early
and say so.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from chat_protocol.lines import MAX_FRAME

LIST_PAGE: Final = 400
"""Entries in a page of users or rooms: 400 of the longest names still fit."""

_ROOM_FOR_LIST: Final = MAX_FRAME - 4096  # what a frame holds beside its list
_encoder = msgspec.json.Encoder()


def fitting(entries: Sequence[msgspec.Struct]) -> int:
    """Return how many of `entries`, from the first, fit into one frame together with its other fields."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(_encoder.encode(entry)) + 1
        if size > _ROOM_FOR_LIST:
            return count
    return len(entries)


def following(keys: Iterable[str], after: str, limit: int) -> tuple[list[str], bool]:
    """Return the next `limit` keys after `after` in order, and whether there are more."""
    page = sorted(key for key in keys if key > after)[: limit + 1]
    return page[:limit], len(page) > limit
