"""Who was turned away since the last interval line: counts by address, with a bound on both memory and lines.

Knows addresses and reasons as text. Must not know why anybody is turned away, nor how a line is written.
"""

import heapq
from collections import Counter
from typing import Final, NamedTuple

MAX_TOLD: Final = 20
"""Addresses with lines of their own: the worst. Whoever has many must not fill the disk by way of the log."""

MAX_COUNTED: Final = 10_000
"""Addresses that are told apart between two lines: about 3 MB."""


class Refused(NamedTuple):
    """How often an address was turned away for one reason; without an address, how often `others` were."""

    address: str | None
    reason: str
    times: int
    others: int | None = None


class Refusals:
    """Counts, until they are taken."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._beyond = 0

    def add(self, address: str, reason: str) -> None:
        """Count one."""
        key = (address, reason)
        if key in self._counts or len(self._counts) < MAX_COUNTED:
            self._counts[key] += 1
        else:
            self._beyond += 1

    def take(self) -> list[Refused]:
        """Return the worst, most first, and then the rest in one; begin anew."""
        counts, beyond = self._counts, self._beyond
        self._counts, self._beyond = Counter(), 0
        if not counts:
            return []
        worst = heapq.nlargest(MAX_TOLD, counts.items(), key=lambda item: item[1])
        told = [Refused(address, reason, count) for (address, reason), count in worst]
        rest = counts.total() + beyond - sum(one.times for one in told)
        if rest:
            told.append(Refused(None, "others", rest, len(counts) - len(told)))
        return told
