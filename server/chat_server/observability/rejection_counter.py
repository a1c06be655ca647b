"""Who was turned away since the last interval line: counts by address, with a bound on both memory and lines.

Knows addresses and reasons as text. Must not know why anybody is turned away, nor how a line is written.
"""

import heapq
from collections import Counter
from typing import Final, NamedTuple

MAX_ADDRESSES_REPORTED: Final = 20
"""Addresses with lines of their own: the worst. Whoever has many must not fill the disk by way of the log."""

MAX_ADDRESSES_COUNTED: Final = 10_000
"""Addresses that are told apart between two lines: about 3 MB."""


class RejectionCount(NamedTuple):
    """How often an address was turned away for one reason; without an address, how often `others` were."""

    address: str | None
    reason: str
    times: int
    others: int | None = None


class RejectionCounter:
    """Counts, until they are taken."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._overflow = 0

    def record(self, address: str, reason: str) -> None:
        """Count one."""
        key = (address, reason)
        if key in self._counts or len(self._counts) < MAX_ADDRESSES_COUNTED:
            self._counts[key] += 1
        else:
            self._overflow += 1

    def take_counts(self) -> list[RejectionCount]:
        """Return the worst, most first, and then the rest in one; begin anew."""
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
