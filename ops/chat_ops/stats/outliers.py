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

FACTOR: Final = 8.0
"""Deviations above the median from which on a second is a storm's: chance alone hardly ever goes beyond 5."""
FLOOR: Final = 20.0
"""A second below which nothing is a storm: of a quiet server both medians are 0."""
JOINED: Final = 5.0
"""Seconds of quiet within one storm: clients wait a moment before they try again."""
_COMPARABLE: Final = 1.4826


@dataclass(frozen=True, slots=True)
class Usual:
    """The median of a rate, and its deviation (comparable with a standard deviation)."""

    median: float
    deviation: float

    def bound(self, factor: float = FACTOR, floor: float = FLOOR) -> float:
        """Return the rate above which a second is out of the ordinary."""
        return max(self.median + factor * self.deviation, floor)


@dataclass(frozen=True, slots=True)
class Span:
    """A time from the first moment to the one after the last, in seconds since some epoch."""

    begin: float
    end: float


def usual(seconds: Mapping[float, int], total: int | None = None) -> Usual:
    """Return what is usual of rates; `seconds` says how many seconds had each.

    Of `total` seconds, those that are not told had a rate of 0.
    """
    told = sum(seconds.values())
    counts = dict(seconds)
    if total is not None and total > told:
        counts[0.0] = counts.get(0.0, 0) + total - told
    if not counts:
        return Usual(0.0, 0.0)
    median = _median(counts)
    distances: dict[float, int] = {}
    for rate, times in counts.items():
        distance = abs(rate - median)
        distances[distance] = distances.get(distance, 0) + times
    return Usual(median, _median(distances) * _COMPARABLE)


def joined(spans: Iterable[Span], within: float = JOINED) -> list[Span]:
    """Return the spans in order, those that overlap or are at most `within` seconds apart as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.begin, one.end)):
        if found and span.begin - found[-1].end <= within:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _median(counts: Mapping[float, int]) -> float:
    """Return the median of values that occur so often each; of two in the middle, their mean."""
    total = sum(counts.values())
    lower, upper = _at(counts, math.ceil(total / 2)), _at(counts, total // 2 + 1)
    return (lower + upper) / 2


def _at(counts: Mapping[float, int], rank: int) -> float:
    values: Sequence[float] = sorted(counts)
    passed = 0
    for value in values:
        passed += counts[value]
        if passed >= rank:
            return value
    return values[-1]
