"""Pages of lists: as many entries as fit into one frame, in a fixed order.

A frame of the server has at most 65,536 bytes (docs/protocol.md). A list that is longer is cut, and the event
says so (`more`).
"""

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, TypeVar

import msgspec

from chat_protocol.framing.lines import MAX_FRAME_BYTES

PAGE_ENTRIES: Final = 100
"""Entries in a page of users or rooms: nobody notices the half millisecond that it takes."""

_LIST_BYTES: Final = MAX_FRAME_BYTES - 4096  # the rest of the frame is for its other fields
_encoder: Final = msgspec.json.Encoder()

T = TypeVar("T")


def count_fitting(entries: Sequence[msgspec.Struct]) -> int:
    """Return how many of `entries`, from the first, fit into one frame beside its other fields."""
    if len(_encoder.encode(entries)) <= _LIST_BYTES:
        return len(entries)
    size = 0
    for count, entry in enumerate(entries):
        size += len(_encoder.encode(entry)) + 1
        if size > _LIST_BYTES:
            return count
    return len(entries)


def sorted_page_after(keys: Iterable[str], after: str, limit: int) -> tuple[list[str], bool]:
    """Return the `limit` smallest keys after `after`, sorted, and whether there are more. Reads all keys."""
    page = heapq.nsmallest(limit + 1, (key for key in keys if key > after))
    return page[:limit], len(page) > limit


def first_page(items: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """Return the first `limit` items, and whether there are more. Reads at most one item more than that."""
    page = list(islice(items, limit + 1))
    return page[:limit], len(page) > limit
