"""Totals since the start, of counts that the event log resets each interval.

The hot path writes to `IntervalStats` only. An interval's counts are added here when it ends, so a message
costs nothing more.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from chat_server.core.base.interval_stats import IntervalStats


class HistogramCounts(NamedTuple):
    """A histogram with Prometheus' bounds, not yet cumulative."""

    buckets: list[int]
    """Count per bucket: values above the previous bound and up to this one; the last is above all bounds."""
    total: float
    """Sum of the values, in seconds."""


class LifetimeHistogram:
    """A histogram that is never reset, of durations in units of `scale` seconds."""

    def __init__(self, bounds: tuple[float, ...], scale: float) -> None:
        self._bounds = [round(bound / scale) for bound in bounds]
        self._scale = scale
        self._buckets = [0] * (len(bounds) + 1)
        self._total = 0  # an integer, so that small addends are never lost to rounding

    def add_tally(self, tally: Mapping[int, int]) -> None:
        """Add a tally of durations: count by duration. One step per distinct duration."""
        bounds, buckets = self._bounds, self._buckets
        total = 0
        for value, count in tally.items():
            buckets[bisect_left(bounds, value)] += count
            total += value * count
        self._total += total

    def copy(self) -> "LifetimeHistogram":
        """Return a copy with the same counts."""
        fresh = LifetimeHistogram((), self._scale)
        fresh._bounds = self._bounds
        fresh._buckets = self._buckets.copy()
        fresh._total = self._total
        return fresh

    def counts(self) -> HistogramCounts:
        """Return the counts so far."""
        return HistogramCounts(self._buckets, self._total * self._scale)


NUMBER_FIELDS = (
    *("messages", "deliveries", "commits", "bytes_in", "bytes_out", "caught_up", "throttled", "opened"),
)
"""Fields of `IntervalStats` that are numbers."""
COUNTER_FIELDS = ("closed", "refused", "errors")
"""Fields of `IntervalStats` that are counts by reason or code."""
TALLY_FIELDS = ("accept_to_commit", "commit_to_sent", "rtt")
"""Fields of `IntervalStats` that are tallies of durations, in microseconds."""


class Totals:
    """Totals of all intervals that have ended."""

    def __init__(self, latencies: tuple[float, ...], lags: tuple[float, ...]) -> None:
        self.plain: dict[str, int] = dict.fromkeys(NUMBER_FIELDS, 0)
        self.named: dict[str, Counter[str]] = {name: Counter() for name in COUNTER_FIELDS}
        self.tallies = {name: LifetimeHistogram(latencies, 1e-6) for name in TALLY_FIELDS}
        self.lag = LifetimeHistogram(lags, 1e-3)

    def add_interval(self, stats: IntervalStats, lags: Mapping[int, int]) -> None:
        """Add an interval that has ended; `lags` is the tally of loop lag in milliseconds."""
        for name in NUMBER_FIELDS:
            self.plain[name] += getattr(stats, name)
        for name in COUNTER_FIELDS:
            self.named[name].update(getattr(stats, name))
        for name in TALLY_FIELDS:
            self.tallies[name].add_tally(getattr(stats, name))
        self.lag.add_tally(lags)
