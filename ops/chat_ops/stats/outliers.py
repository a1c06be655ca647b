"""Outlier detection for rates per second: median and median absolute deviation (MAD).

The baseline is the median of all seconds, quiet ones included, and the MAD. A storm of a few minutes moves
neither, as it would a mean and a standard deviation (Rousseeuw and Croux, 1993; 1.4826 times the MAD is
comparable with a standard deviation).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

STORM_DEVIATIONS: Final = 8.0
"""A second belongs to a storm from this many deviations above the median on; chance rarely exceeds 5."""
STORM_FLOOR_PER_S: Final = 20.0
"""Lower rates are never a storm: on a quiet server both medians are 0."""
JOIN_GAP_S: Final = 5.0
"""Quiet seconds within one storm: clients wait before they retry."""
_MAD_TO_STDDEV: Final = 1.4826


@dataclass(frozen=True, slots=True)
class RateBaseline:
    """The median of a rate, and its deviation (comparable with a standard deviation)."""

    median: float
    deviation: float

    def threshold(self, factor: float = STORM_DEVIATIONS, floor: float = STORM_FLOOR_PER_S) -> float:
        """Return the rate (per second) above which a second is an outlier."""
        return max(self.median + factor * self.deviation, floor)


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A period in seconds since some epoch; `end` is exclusive."""

    begin: float
    end: float


def rate_baseline(seconds: Mapping[float, int], total: int | None = None) -> RateBaseline:
    """Return median and deviation of rates; `seconds` has the number of seconds of each rate.

    Seconds of `total` that are not in `seconds` had a rate of 0.
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
    """Return the spans in order, joining those that overlap or are at most `gap_s` apart."""
    found: list[TimeSpan] = []
    for span in sorted(spans, key=lambda one: (one.begin, one.end)):
        if found and span.begin - found[-1].end <= gap_s:
            found[-1] = TimeSpan(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _median(counts: Mapping[float, int]) -> float:
    """Return the median of values with their counts; the mean of the two in the middle if there are two."""
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
