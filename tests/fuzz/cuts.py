"""Splits a byte stream into pieces, as a network may."""

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` whole, byte by byte, and split at random places; deterministic for the same `data`."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    dice = random.Random(zlib.crc32(data))
    for most in (1, 3, 20):
        places = sorted({0, len(data), *(dice.randint(0, len(data)) for _ in range(most))})
        yield [data[one:two] for one, two in itertools.pairwise(places)]


def same_for_all_cuts(data: bytes, feed: Callable[[list[bytes]], Any]) -> Any:
    """Return the result of `feed` for `data`; assert that it does not depend on how `data` is split."""
    first, *others = cuts(data)
    whole = feed(first)
    for pieces in others:
        again = feed(pieces)
        assert again == whole, f"whole: {whole!r}\ncut into {len(pieces)}: {again!r}"
    return whole
