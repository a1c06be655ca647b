"""One stream of bytes in many pieces, as a network may cut it."""

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Return `data` whole, byte by byte, and cut at random places that are always the same for it."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    dice = random.Random(zlib.crc32(data))
    for most in (1, 3, 20):
        places = sorted({0, len(data), *(dice.randint(0, len(data)) for _ in range(most))})
        yield [data[one:two] for one, two in itertools.pairwise(places)]


def same_for_all_cuts(data: bytes, feed: Callable[[list[bytes]], Any]) -> Any:
    """Return what `feed` makes of the pieces of `data`, which must not hang on where they are cut."""
    first, *others = cuts(data)
    whole = feed(first)
    for pieces in others:
        again = feed(pieces)
        assert again == whole, f"whole: {whole!r}\ncut into {len(pieces)}: {again!r}"
    return whole
