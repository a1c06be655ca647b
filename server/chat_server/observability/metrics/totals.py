"""Totals over the server's life, of counts that the log begins anew each interval.

Knows tallies and bounds. Must not know where they come from nor who reads them. The hot path writes into
`Stats` as ever; what it wrote is added here once an interval, so a message costs nothing more.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chat_server.core.base.interval_stats import Stats


class Counts(NamedTuple):
    """A histogram as Prometheus has it, but not yet cumulative."""

    buckets: list[int]
    """How many values lay over the bound before and not over this one; the last entry is for all others."""
    total: float
    """The sum of the values, in seconds."""


class Histogram:
    """A histogram that only grows, of durations in units of `scale` seconds."""

    def __init__(self, bounds: tuple[float, ...], scale: float) -> None:
        self._bounds = [round(bound / scale) for bound in bounds]
        self._scale = scale
        self._buckets = [0] * (len(bounds) + 1)
        self._total = 0  # an integer: it never loses what is small beside it

    def add(self, tally: Mapping[int, int]) -> None:
        """Add a tally of durations: how often each occurred. One step for each distinct value."""
        bounds, buckets = self._bounds, self._buckets
        total = 0
        for value, count in tally.items():
            buckets[bisect_left(bounds, value)] += count
            total += value * count
        self._total += total

    def copy(self) -> "Histogram":
        """Return another one with the same counts."""
        fresh = Histogram((), self._scale)
        fresh._bounds = self._bounds
        fresh._buckets = self._buckets.copy()
        fresh._total = self._total
        return fresh

    def counts(self) -> Counts:
        """Return what was added so far."""
        return Counts(self._buckets, self._total * self._scale)


PLAIN = ("messages", "deliveries", "commits", "bytes_in", "bytes_out", "caught_up", "opened")
"""Counts of `Stats` that are numbers."""
NAMED = ("closed", "refused", "errors")
"""Counts of `Stats` by a reason or a code."""
TALLIES = ("accept_to_commit", "commit_to_sent", "rtt")
"""Durations of `Stats`, in microseconds."""


class Totals:
    """Everything that was folded in so far."""

    def __init__(self, latencies: tuple[float, ...], lags: tuple[float, ...]) -> None:
        self.plain: dict[str, int] = dict.fromkeys(PLAIN, 0)
        self.named: dict[str, Counter[str]] = {name: Counter() for name in NAMED}
        self.tallies = {name: Histogram(latencies, 1e-6) for name in TALLIES}
        self.lag = Histogram(lags, 1e-3)

    def fold(self, stats: Stats, lags: Mapping[int, int]) -> None:
        """Add an interval that has ended; `lags` counts by how many milliseconds the loop was late."""
        for name in PLAIN:
            self.plain[name] += getattr(stats, name)
        for name in NAMED:
            self.named[name].update(getattr(stats, name))
        for name in TALLIES:
            self.tallies[name].add(getattr(stats, name))
        self.lag.add(lags)
