"""What is out of the ordinary in counts a second, by the counts' own measure.

Knows numbers. Must not know what is counted. The usual is the median of all seconds, the quiet ones
included; how much it varies is the median absolute deviation, which a storm of a few minutes does not
move, as it would a mean and a standard deviation (Rousseeuw and Croux, 1993; 1.4826 makes it comparable
with the latter).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

STORM_DEVIATIONS: Final = 8.0
"""Deviations above the median from which on a second is a storm's: chance alone hardly ever goes beyond 5."""
STORM_FLOOR_PER_S: Final = 20.0
"""A second below which nothing is a storm: of a quiet server both medians are 0."""
JOIN_GAP_S: Final = 5.0
"""Seconds of quiet within one storm: clients wait a moment before they try again."""
_MAD_TO_STDDEV: Final = 1.4826


@dataclass(frozen=True, slots=True)
class RateBaseline:
    """The median of a rate, and its deviation (comparable with a standard deviation)."""

    median: float
    deviation: float

    def threshold(self, factor: float = STORM_DEVIATIONS, floor: float = STORM_FLOOR_PER_S) -> float:
        """Return the rate above which a second is out of the ordinary."""
        return max(self.median + factor * self.deviation, floor)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A time from the first moment to the one after the last, in seconds since some epoch."""

    begin: float
    end: float


def rate_baseline(seconds: Mapping[float, int], total: int | None = None) -> RateBaseline:
    """Return what is usual of rates; `seconds` says how many seconds had each.

    Of `total` seconds, those that are not told had a rate of 0.
    """
    listed = sum(seconds.values())
    counts = dict(seconds)
    if total is not None and total > listed:
        counts[0.0] = counts.get(0.0, 0) + total - listed
    if not counts:
        return RateBaseline(0.0, 0.0)
    median = _median(counts)
    distances: dict[float, int] = {}
    for rate, times in counts.items():
        distance = abs(rate - median)
        distances[distance] = distances.get(distance, 0) + times
    return RateBaseline(median, _median(distances) * _MAD_TO_STDDEV)


def join_spans(spans: Iterable[TimeSpan], gap_s: float = JOIN_GAP_S) -> list[TimeSpan]:
    """Return the spans in order, those that overlap or are at most `within` seconds apart as one."""
    found: list[TimeSpan] = []
    for span in sorted(spans, key=lambda one: (one.begin, one.end)):
        if found and span.begin - found[-1].end <= gap_s:
            found[-1] = TimeSpan(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _median(counts: Mapping[float, int]) -> float:
    """Return the median of values that occur so often each; of two in the middle, their mean."""
    total = sum(counts.values())
    lower, upper = _value_at_rank(counts, math.ceil(total / 2)), _value_at_rank(counts, total // 2 + 1)
    return (lower + upper) / 2


def _value_at_rank(counts: Mapping[float, int], rank: int) -> float:
    values: Sequence[float] = sorted(counts)
    passed = 0
    for value in values:
        passed += counts[value]
        if passed >= rank:
            return value
    return values[-1]
