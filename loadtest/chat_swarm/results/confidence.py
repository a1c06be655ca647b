"""Confidence intervals of a run's figures, by a block bootstrap over the run's own seconds.

Method. The seconds of a scope are cut into blocks of five consecutive ones (longer in a long run: at most
forty blocks), since neighbouring seconds are correlated. A thousand times, as many blocks are drawn as there
are, with replacement, and the figure is computed from the drawn blocks (Efron 1979, Künsch 1989). The spread
of the thousand gives a 98 % interval, widened by Student's t for the small number of blocks, and never
narrower than `MIN_HALF_WIDTH_SHARE` to each side. Two figures differ beyond noise when their intervals do not
overlap.

Of each second's latencies eight quantiles are known (timeline.csv). Between them the logarithm of the latency
is interpolated linearly in the number of nines; a resample's percentile is read from the sum of its seconds'
distributions. Only the spread comes from there: the interval is put around the exact figure.

Limits. A run cannot measure what differs between runs: memory layout, other load, temperature.
`MIN_HALF_WIDTH_SHARE` covers that and is a guess. When it matters, make three runs of each and see whether A
differs from A, too. There is no interval for a maximum, for a count of rare failures, or for a percentile
with fewer than ten samples beyond it. Counts of rare failures are compared by `are_rates_different`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chat_swarm.model.schema import Quantiles, TimelineRow
from chat_swarm.results.metric_refs import MetricKind, MetricRef

MIN_HALF_WIDTH_SHARE: Final = 0.025
"""Least half-width of an interval, as a share of the figure: variation between runs, invisible in one run."""

BLOCK_SECONDS: Final = 5
MAX_BLOCKS: Final = 40
MIN_BLOCKS: Final = 5
MIN_RUN_SECONDS: Final = BLOCK_SECONDS * MIN_BLOCKS
"""Seconds that a scope needs for its figures to have intervals."""
MIN_TAIL_SAMPLES: Final = 10
"""Samples that must lie beyond a percentile for it to have an interval."""

_RARE_EVENT_LEVEL: Final = 0.01
"""Probability of calling two equal rates of rare events different: eight errors against none are needed."""
_EXACT_TRIALS: Final = 500
_RESAMPLES: Final = 1000
_GRID_POINTS: Final = 512
_SEED: Final = 20_260_921
_QUANTILES: Final = ("min", "p50", "p90", "p99", "p999", "p9999", "max")
_QUANTILE_SHARES: Final = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)

Floats = npt.NDArray[np.float64]


class ConfidenceInterval(NamedTuple):
    """A figure and the range in which an identical run would come out by chance, in the figure's unit."""

    low: float
    value: float
    high: float

    def is_disjoint(self, other: "ConfidenceInterval") -> bool:
        """Return whether the two intervals do not overlap."""
        return self.high < other.low or other.high < self.low


def are_rates_different(one: tuple[int, float], other: tuple[int, float]) -> bool:
    """Return whether two counts of rare events, each in so many seconds, have different rates.

    If the rate is the same, each event of both is in the other's seconds with the share of these (conditional
    test of two Poisson rates, Przyborowski and Wilenski 1940); two-sided, at 1 %.
    """
    (first, first_s), (second, second_s) = one, other
    total = first + second
    if not total or first_s <= 0 or second_s <= 0:
        return False
    share = second_s / (first_s + second_s)
    up_to = _binomial_cdf(second, total, share)
    from_there = 1.0 - _binomial_cdf(second - 1, total, share)
    return 2 * min(up_to, from_there) < _RARE_EVENT_LEVEL


def _binomial_cdf(most: int, trials: int, share: float) -> float:
    """Return the probability of at most so many successes; by the normal distribution for many trials."""
    if trials > _EXACT_TRIALS:
        deviation = (most + 0.5 - trials * share) / math.sqrt(trials * share * (1 - share))
        return 0.5 * math.erfc(-deviation / math.sqrt(2))
    return math.fsum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(max(0, most + 1))
    )


def confidence_interval(
    ref: MetricRef, value: float, rows: Sequence[TimelineRow], connected: int = 0
) -> ConfidenceInterval | None:
    """Return the interval around `value`; None if it cannot be computed from these rows."""
    blocks = _block_count(len(rows))
    if blocks < MIN_BLOCKS or value <= 0:
        return None
    weights = np.random.default_rng(_SEED).multinomial(blocks, [1 / blocks] * blocks, size=_RESAMPLES)
    drawn = _resample(
        ref, rows, connected, np.arange(len(rows)) * blocks // len(rows), weights.astype(np.float64)
    )
    if drawn is None:
        return None
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    if len(drawn) < _RESAMPLES * 0.9:
        return None  # too rare to be in every resample
    logs = np.log(drawn)
    wide = _small_sample_factor(blocks)
    middle = float(np.median(logs))
    below = max((middle - float(np.quantile(logs, 0.01))) * wide, MIN_HALF_WIDTH_SHARE)
    above = max((float(np.quantile(logs, 0.99)) - middle) * wide, MIN_HALF_WIDTH_SHARE)
    return ConfidenceInterval(value * math.exp(-below), value, value * math.exp(above))


def _block_count(seconds: int) -> int:
    return min(MAX_BLOCKS, seconds // BLOCK_SECONDS)


def _small_sample_factor(blocks: int) -> float:
    """Return the factor by which a bootstrap of few blocks must be widened.

    Student's t in place of the normal's 2.33 (Cornish-Fisher expansion), and n / (n - 1) of variance.
    """
    z, df = 2.326348, blocks - 1
    t = z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)
    return t / z * math.sqrt(blocks / df)


def _resample(
    ref: MetricRef, rows: Sequence[TimelineRow], connected: int, block: npt.NDArray[np.intp], weights: Floats
) -> Floats | None:
    """Return the figure of each resample; `weights[resample, block]` is how often the block is drawn."""

    def total(take: Callable[[TimelineRow], float]) -> Floats:
        """Return a sum over the seconds of each resample."""
        return weights @ np.bincount(block, weights=[take(row) for row in rows])

    subject = ref.subject
    if ref.kind is MetricKind.LATENCY:
        return _resample_latency(ref, rows, block, weights)
    if ref.kind in {MetricKind.RATE, MetricKind.COUNT}:
        return total(lambda row: row.counts.get(subject, 0)) / total(lambda _: 1.0)
    if not subject.startswith("server.") or any(row.server is None for row in rows):
        return None
    cpu = total(lambda row: row.server.cpu if row.server else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        match subject:
            case "server.cpu_cores":
                return cpu / total(lambda _: 1.0)
            case "server.cpu_us_per_delivery":
                return cpu / total(lambda row: row.counts.get("delivered", 0))
            case "server.cpu_us_per_message":
                return cpu / total(lambda row: row.counts.get("sent", 0))
            case "server.rss_kib_per_connection" | "server.rss_peak_kib" if connected:
                return total(lambda row: row.server.rss_bytes if row.server else 0.0)
    return None


def _resample_latency(
    ref: MetricRef, rows: Sequence[TimelineRow], block: npt.NDArray[np.intp], weights: Floats
) -> Floats | None:
    shorts = [row.metrics.get(ref.subject) or Quantiles() for row in rows]
    counts = np.array([short.count for short in shorts], dtype=np.float64)
    total = counts.sum()
    if ref.stat == "mean" and total:
        sums = counts * np.array([short.mean for short in shorts])
        return (weights @ np.bincount(block, weights=sums)) / np.maximum(
            1.0, weights @ np.bincount(block, weights=counts)
        )
    if ref.percent is None or total * (1 - ref.percent / 100) < MIN_TAIL_SAMPLES:
        return None
    known = [short for short in shorts if short.count]
    grid = np.geomspace(
        max(1, min(short.min for short in known)), max(short.max for short in known) + 1, _GRID_POINTS
    )
    beyond = np.zeros((weights.shape[1], _GRID_POINTS))
    for short, number in zip(shorts, block, strict=True):
        if short.count:
            beyond[number] += short.count * _survival(short, np.log(grid))
    drawn = weights @ beyond
    drawn /= np.maximum(1.0, weights @ np.bincount(block, weights=counts))[:, None]
    return _crossing(drawn, np.log(grid), 1 - ref.percent / 100)


def _survival(short: Quantiles, grid: Floats) -> Floats:
    """Return the share of a second's samples above each point of a grid of log latencies."""
    values = np.log(np.maximum([getattr(short, part) for part in _QUANTILES], 1))
    values = (
        np.maximum.accumulate(values) + np.arange(len(_QUANTILES)) * 1e-9
    )  # np.interp wants them ascending
    nines = -np.log10([1 - share for share in _QUANTILE_SHARES] + [0.5 / short.count])
    nines = np.minimum(nines, nines[-1])
    share: Floats = 10.0 ** -np.interp(grid, values, nines, left=0.0)
    share[grid > values[-1]] = 0.0
    return share


def _crossing(survival: Floats, grid: Floats, level: float) -> Floats:
    """Return, for each row of decreasing shares, the latency at which it falls to `level`."""
    after = np.clip((survival > level).sum(axis=1), 1, survival.shape[1] - 1)
    row = np.arange(len(survival))
    above = np.maximum(survival[row, after - 1], level)
    below = np.maximum(np.minimum(survival[row, after], level), level * 1e-3)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.nan_to_num(np.log(above / level) / np.log(above / below))
    crossing: Floats = np.exp(grid[after - 1] + part * (grid[after] - grid[after - 1]))
    return crossing
