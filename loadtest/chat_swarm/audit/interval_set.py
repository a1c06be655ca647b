"""A set of integers stored as intervals: missing seqs, excused counters."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class IntervalSet:
    """Ascending closed intervals [first, last] that neither touch nor overlap; iterating yields them."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._lasts, number)
        return place < len(self._lasts) and self._firsts[place] <= number

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Add the integers from `first` to `last`."""
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> list[tuple[int, int]]:
        """Remove the integers from `first` to `last`; return those that were in the set, as intervals."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        removed = [(max(one, first), min(other, last)) for one, other in self._slice(low, high)]
        kept = [
            (one, other)
            for start, end in self._slice(low, high)
            for one, other in ((start, first - 1), (last + 1, end))
            if one <= other
        ]
        self._firsts[low:high] = [one for one, _ in kept]
        self._lasts[low:high] = [other for _, other in kept]
        return removed

    def _slice(self, low: int, high: int) -> list[tuple[int, int]]:
        return list(zip(self._firsts[low:high], self._lasts[low:high], strict=True))


def range_text(first: int, last: int) -> str:
    """Return an interval as text: `4` or `4 to 6`."""
    return str(first) if first == last else f"{first} to {last}"
