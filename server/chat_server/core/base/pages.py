"""Lists that fit into one frame, and their order.

Knows sizes and names. A frame of the server has at most 65,536 bytes (docs/protocol.md); lists stop early
and say so.
"""

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec

from chat_protocol.framing.lines import MAX_FRAME_BYTES

LIST_PAGE: Final = 400
"""Entries in a page of users or rooms: 400 of the longest names still fit."""

_ROOM_FOR_LIST: Final = MAX_FRAME_BYTES - 4096  # what a frame holds beside its list
_encoder = msgspec.json.Encoder()

T = TypeVar("T")


def fitting(entries: Sequence[msgspec.Struct]) -> int:
    """Return how many of `entries`, from the first, fit into one frame together with its other fields."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(_encoder.encode(entry)) + 1
        if size > _ROOM_FOR_LIST:
            return count
    return len(entries)


def following(keys: Iterable[str], after: str, limit: int) -> tuple[list[str], bool]:
    """Return the next `limit` keys after `after` in order, and whether there are more. Looks at all keys."""
    page = heapq.nsmallest(limit + 1, (key for key in keys if key > after))
    return page[:limit], len(page) > limit


def first(found: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """Return the first `limit` of what is found, and whether there are more. Looks no further than that."""
    page = list(islice(found, limit + 1))
    return page[:limit], len(page) > limit
