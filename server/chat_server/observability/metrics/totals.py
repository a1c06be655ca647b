"""Totals over the server's life, of counts that the log begins anew each interval.

Knows tallies and bounds. Must not know where they come from nor who reads them. The hot path writes into
`Stats` as ever; what it wrote is added here once an interval, so a message costs nothing more.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chat_server.core.base.interval_stats import Stats


class HistogramCounts(NamedTuple):
    """A histogram as Prometheus has it, but not yet cumulative."""

    buckets: list[int]
    """How many values lay over the bound before and not over this one; the last entry is for all others."""
    total: float
    """The sum of the values, in seconds."""


class LifetimeHistogram:
    """A histogram that only grows, of durations in units of `scale` seconds."""

    def __init__(self, bounds: tuple[float, ...], scale: float) -> None:
        self._bounds = [round(bound / scale) for bound in bounds]
        self._scale = scale
        self._buckets = [0] * (len(bounds) + 1)
        self._total = 0  # an integer: it never loses what is small beside it

    def add_tally(self, tally: Mapping[int, int]) -> None:
        """Add a tally of durations: how often each occurred. One step for each distinct value."""
        bounds, buckets = self._bounds, self._buckets
        total = 0
        for value, count in tally.items():
            buckets[bisect_left(bounds, value)] += count
            total += value * count
        self._total += total

    def copy(self) -> "LifetimeHistogram":
        """Return another one with the same counts."""
        fresh = LifetimeHistogram((), self._scale)
        fresh._bounds = self._bounds
        fresh._buckets = self._buckets.copy()
        fresh._total = self._total
        return fresh

    def counts(self) -> HistogramCounts:
        """Return what was added so far."""
        return HistogramCounts(self._buckets, self._total * self._scale)


NUMBER_FIELDS = ("messages", "deliveries", "commits", "bytes_in", "bytes_out", "caught_up", "opened")
"""Counts of `Stats` that are numbers."""
COUNTER_FIELDS = ("closed", "refused", "errors")
"""Counts of `Stats` by a reason or a code."""
TALLY_FIELDS = ("accept_to_commit", "commit_to_sent", "rtt")
"""Durations of `Stats`, in microseconds."""


class Totals:
    """Everything that was folded in so far."""

    def __init__(self, latencies: tuple[float, ...], lags: tuple[float, ...]) -> None:
        self.plain: dict[str, int] = dict.fromkeys(NUMBER_FIELDS, 0)
        self.named: dict[str, Counter[str]] = {name: Counter() for name in COUNTER_FIELDS}
        self.tallies = {name: LifetimeHistogram(latencies, 1e-6) for name in TALLY_FIELDS}
        self.lag = LifetimeHistogram(lags, 1e-3)

    def add_interval(self, stats: Stats, lags: Mapping[int, int]) -> None:
        """Add an interval that has ended; `lags` counts by how many milliseconds the loop was late."""
        for name in NUMBER_FIELDS:
            self.plain[name] += getattr(stats, name)
        for name in COUNTER_FIELDS:
            self.named[name].update(getattr(stats, name))
        for name in TALLY_FIELDS:
            self.tallies[name].add_tally(getattr(stats, name))
        self.lag.add_tally(lags)
