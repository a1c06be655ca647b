"""Whether a soak drifts: the slope of latency and of the server's memory, with its uncertainty.

Knows rows of a timeline. Must not know how they came about, nor how a drift is shown. Pure.

A straight line is laid through the medians of equal pieces of the time: medians, so that single stalls do not
tilt it; pieces, since neighbouring seconds resemble each other and a line through them all would believe
itself too much.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, linear_regression, median
from typing import Final

from chat_swarm.model.schema import Row

PIECES: Final = 30
FEWEST: Final = 8
"""Pieces below which nothing is said."""
SURE: Final = 0.99
"""Chance that the true slope is within the uncertainty, if it is a line. Several figures are looked at, of
which one in twenty would seem to drift by chance if this were 95 %."""
SOAK: Final = "soak"

_HOUR: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure's change an hour, ± `uncertainty`, in `unit`."""

    what: str
    unit: str
    per_hour: float
    uncertainty: float
    mean: float
    seconds: float

    @property
    def drifts(self) -> bool:
        """Whether it changed by more than chance explains."""
        return abs(self.per_hour) > self.uncertainty

    @property
    def sentence(self) -> str:
        """The finding in words."""
        verdict = "drifts" if self.drifts else "does not drift"
        share = f" ({100 * self.per_hour / self.mean:+.2g} % of its mean)" if self.mean else ""
        change = f"{self.per_hour:+.3g} ± {self.uncertainty:.2g} {self.unit} an hour{share}"
        return f"{self.what} {verdict}: {change}, over {self.seconds:,.0f} s"


def _latency(name: str, quantile: str) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        figures = row.metrics.get(name)
        return float(getattr(figures, quantile)) if figures is not None and figures.count else None

    return value


_FIGURES: Final[tuple[tuple[str, str, Callable[[Row], float | None]], ...]] = (
    ("delivery p50", "µs", _latency("delivery", "p50")),
    ("delivery p99", "µs", _latency("delivery", "p99")),
    ("ack p99", "µs", _latency("ack", "p99")),
    ("server memory", "MiB", lambda row: None if row.server is None else row.server.rss_bytes / 2**20),
)


def drifts(rows: Sequence[Row]) -> list[Drift]:
    """Return what can be said about the seconds of a soak (of the steady ones, where no step is named so).

    Marked seconds are left out: they speak of the generator.
    """
    soaked = [row for row in rows if row.step == SOAK] or [row for row in rows if row.phase == "steady"]
    found = []
    for what, unit, value in _FIGURES:
        points = [
            (float(row.t), seen) for row in soaked if not row.marked and (seen := value(row)) is not None
        ]
        drift = slope(points)
        if drift is not None:
            per_second, half = drift
            found.append(
                Drift(
                    what=what,
                    unit=unit,
                    per_hour=per_second * _HOUR,
                    uncertainty=half * _HOUR,
                    mean=fmean(seen for _, seen in points),
                    seconds=points[-1][0] - points[0][0],
                )
            )
    return found


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return (slope, half of its interval) of points in the order of time; None if they are too few."""
    pieces = min(PIECES, len(points) // 2)
    if pieces < FEWEST or points[0][0] == points[-1][0]:
        return None
    cuts = [round(len(points) * number / pieces) for number in range(pieces + 1)]
    times = [fmean(t for t, _ in points[low:high]) for low, high in pairwise(cuts)]
    values = [median(v for _, v in points[low:high]) for low, high in pairwise(cuts)]
    line = linear_regression(times, values)
    rest = [value - line.slope * t - line.intercept for t, value in zip(times, values, strict=True)]
    squares = math.fsum(one * one for one in rest)
    middle = fmean(times)
    error = math.sqrt(squares / (pieces - 2) / math.fsum((t - middle) ** 2 for t in times))
    return line.slope, error * _student(pieces - 2) * _inflation(rest, squares)


def _inflation(rest: list[float], squares: float) -> float:
    """Return how much wider the interval must be for what neighbouring pieces have in common (lag 1)."""
    if not squares:
        return 1.0
    common = math.fsum(one * other for one, other in pairwise(rest)) / squares
    common = min(0.9, max(0.0, common))
    return math.sqrt((1 + common) / (1 - common))


def _student(freedom: int) -> float:
    """Return Student's t for `SURE`, two-sided (Cornish and Fisher's expansion, to 1 % from 6 degrees on)."""
    z = NormalDist().inv_cdf((1 + SURE) / 2)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
