"""Percentile distribution of a histogram, as text for HdrHistogram's plotters (.hgrm) and as a curve."""

import math
from typing import Final

import numpy as np

from chat_swarm.model.histogram import Histogram, index_of

_US_PER_MS: Final = 1000.0
_LINES_PER_HALVING: Final = 5
"""Lines for each halving of the distance to 100 %: HdrHistogram's default
`percentileTicksPerHalfDistance`."""

_POINTS_PER_NINE: Final = 24  # 90 % → 99 % → 99.9 %: enough points for a smooth line


def percentile_distribution(histogram: Histogram) -> str:
    """Return the distribution in ms, in the format of HdrHistogram's `outputPercentileDistribution`.

    hdrh writes this format too, but takes 0.1 s for each histogram, and its standard deviation is not in ms.
    """
    levels = [0.0]
    while 1 - levels[-1] > 0.5 / max(1, histogram.count):
        levels.append(levels[-1] + (1 - levels[-1]) / (2 * _LINES_PER_HALVING))
    values = np.array(histogram.percentiles([100 * level for level in [*levels, 1.0]]))
    reached = np.cumsum(histogram.counts)[index_of(values)]
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n"]
    for level, value, total in zip(levels, values, reached, strict=False):
        lines.append(f"{value / _US_PER_MS:12.3f} {level:2.12f} {total:10d} {1 / (1 - level):14.2f}")
        if total == histogram.count:
            break
    lines.append(f"{values[-1] / _US_PER_MS:12.3f} {1.0:2.12f} {histogram.count:10d}")
    mean = histogram.value_sum / max(1, histogram.count)
    square = sum(number * (value - mean) ** 2 for value, number in histogram.buckets())
    deviation = math.sqrt(square / max(1, histogram.count))
    hdr = histogram.to_hdr()
    lines += [
        f"#[Mean    = {mean / _US_PER_MS:12.3f}, StdDeviation   = {deviation / _US_PER_MS:12.3f}]",
        f"#[Max     = {histogram.largest / _US_PER_MS:12.3f}, TotalCount     = {histogram.count:12.3f}]",
        f"#[Buckets = {hdr.bucket_count:12d}, SubBuckets     = {hdr.sub_bucket_count:12d}]",
    ]
    hdr.encoder = None  # a reference cycle, which would wait for the garbage collector
    return "\n".join(lines) + "\n"


def percentile_curve(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Return x = 1 / (1 - quantile) and y = ms, ascending, evenly spaced on a logarithmic x axis.

    The last point is the maximum, at x = count: no percentile beyond it can be known from `count` samples.
    """
    count = histogram.count
    if not count:
        return [], []
    steps = math.ceil(math.log10(count) * _POINTS_PER_NINE) if count > 1 else 0
    odds = [count ** (step / steps) for step in range(steps)] + [float(count)] if steps else [1.0]
    values = histogram.percentiles([100.0 * (1 - 1 / odd) for odd in odds[:-1]] + [100.0])
    return [float(f"{odd:.6g}") for odd in odds], [value / _US_PER_MS for value in values]
