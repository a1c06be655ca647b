"""Detects drift in a soak: slope of latency and of the server's memory, with its uncertainty.

Linear regression through the medians of equal segments of time: medians, so that single stalls do not tilt
the line; segments, since neighbouring seconds are correlated and would make the uncertainty too small.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, linear_regression, median
from typing import Final

from chat_swarm.model.schema import TimelineRow

MAX_SEGMENTS: Final = 30
MIN_SEGMENTS: Final = 8
"""With fewer segments no slope is reported."""
CONFIDENCE_LEVEL: Final = 0.99
"""Probability that the true slope is within the uncertainty, if it is a line. Several figures are tested; at
95 % one in twenty would drift by chance."""
SOAK_SHAPE: Final = "soak"

_HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure's change per hour, ± `uncertainty`, in `unit`."""

    metric: str
    unit: str
    per_hour: float
    uncertainty: float
    mean: float
    seconds: float

    @property
    def is_significant(self) -> bool:
        """Whether the change is larger than its uncertainty."""
        return abs(self.per_hour) > self.uncertainty

    @property
    def sentence(self) -> str:
        """The finding as a sentence."""
        verdict = "drifts" if self.is_significant else "does not drift"
        share = f" ({100 * self.per_hour / self.mean:+.2g} % of its mean)" if self.mean else ""
        change = f"{self.per_hour:+.3g} ± {self.uncertainty:.2g} {self.unit} an hour{share}"
        return f"{self.metric} {verdict}: {change}, over {self.seconds:,.0f} s"


def _latency_reader(name: str, quantile: str) -> Callable[[TimelineRow], float | None]:
    def value(row: TimelineRow) -> float | None:
        figures = row.metrics.get(name)
        return float(getattr(figures, quantile)) if figures is not None and figures.count else None

    return value


_DRIFT_METRICS: Final[tuple[tuple[str, str, Callable[[TimelineRow], float | None]], ...]] = (
    ("delivery p50", "µs", _latency_reader("delivery", "p50")),
    ("delivery p99", "µs", _latency_reader("delivery", "p99")),
    ("ack p99", "µs", _latency_reader("ack", "p99")),
    ("server memory", "MiB", lambda row: None if row.server is None else row.server.rss_bytes / 2**20),
)


def find_drifts(rows: Sequence[TimelineRow]) -> list[Drift]:
    """Return the drift of each figure over the seconds of a soak (the steady ones, if no step is named so).

    Marked seconds are excluded: they measure the generator.
    """
    soaked = [row for row in rows if row.step == SOAK_SHAPE] or [row for row in rows if row.phase == "steady"]
    found = []
    for what, unit, value in _DRIFT_METRICS:
        points = [
            (float(row.t), seen) for row in soaked if not row.marked and (seen := value(row)) is not None
        ]
        drift = fit_slope(points)
        if drift is not None:
            per_second, half = drift
            found.append(
                Drift(
                    metric=what,
                    unit=unit,
                    per_hour=per_second * _HOUR_S,
                    uncertainty=half * _HOUR_S,
                    mean=fmean(seen for _, seen in points),
                    seconds=points[-1][0] - points[0][0],
                )
            )
    return found


def fit_slope(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Return (slope, half-width of its confidence interval), both in units of value per second.

    `points`: (seconds, value), in order of time; None if there are too few.
    """
    segments = min(MAX_SEGMENTS, len(points) // 2)
    if segments < MIN_SEGMENTS or points[0][0] == points[-1][0]:
        return None
    cuts = [round(len(points) * number / segments) for number in range(segments + 1)]
    times = [fmean(t for t, _ in points[low:high]) for low, high in pairwise(cuts)]
    values = [median(v for _, v in points[low:high]) for low, high in pairwise(cuts)]
    line = linear_regression(times, values)
    rest = [value - line.slope * t - line.intercept for t, value in zip(times, values, strict=True)]
    squares = math.fsum(one * one for one in rest)
    middle = fmean(times)
    error = math.sqrt(squares / (segments - 2) / math.fsum((t - middle) ** 2 for t in times))
    return line.slope, error * _student_t(segments - 2) * _autocorrelation_factor(rest, squares)


def _autocorrelation_factor(rest: list[float], squares: float) -> float:
    """Return the factor that widens the interval for the lag-1 autocorrelation of the residuals."""
    if not squares:
        return 1.0
    common = math.fsum(one * other for one, other in pairwise(rest)) / squares
    common = min(0.9, max(0.0, common))
    return math.sqrt((1 + common) / (1 - common))


def _student_t(freedom: int) -> float:
    """Return two-sided Student's t for `CONFIDENCE_LEVEL` (Cornish-Fisher; within 1 % from 6 degrees on)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE_LEVEL) / 2)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
