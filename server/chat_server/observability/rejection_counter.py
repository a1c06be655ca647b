"""Counts rejected connections by address between two interval lines, bounded in memory and in log lines."""

import heapq
from collections import Counter
from typing import Final, NamedTuple

MAX_ADDRESSES_REPORTED: Final = 20
"""Addresses with a log line each, those with most rejections: many addresses must not fill the disk."""

MAX_ADDRESSES_COUNTED: Final = 10_000
"""Pairs of address and reason that are counted separately between two interval lines: about 3 MB."""


class RejectionCount(NamedTuple):
    """Rejections of an address for one reason; without an address, those of `others` further pairs."""

    address: str | None
    reason: str
    times: int
    others: int | None = None


class RejectionCounter:
    """Counts rejections until `take_counts` resets them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._overflow = 0

    def record(self, address: str, reason: str) -> None:
        """Count one rejected connection."""
        key = (address, reason)
        if key in self._counts or len(self._counts) < MAX_ADDRESSES_COUNTED:
            self._counts[key] += 1
        else:
            self._overflow += 1

    def take_counts(self) -> list[RejectionCount]:
        """Return the highest counts, in descending order, then the rest as one entry; reset all counts."""
        counts, overflow = self._counts, self._overflow
        self._counts, self._overflow = Counter(), 0
        if not counts:
            return []
        worst = heapq.nlargest(MAX_ADDRESSES_REPORTED, counts.items(), key=lambda item: item[1])
        reported = [RejectionCount(address, reason, count) for (address, reason), count in worst]
        rest = counts.total() + overflow - sum(one.times for one in reported)
        if rest:
            reported.append(RejectionCount(None, "others", rest, len(counts) - len(reported)))
        return reported
