"""A histogram as HdrHistogram's own plotters read it (.hgrm), and as a curve.

Knows percentiles. Must not know files or pages.
"""

import io
import math
import re
from typing import Final

from chat_swarm.histogram import Histogram

_PER_MS: Final = 1000.0
_DEVIATION: Final = re.compile(r"(StdDeviation   = )([ \d.]+)")
_PER_NINE: Final = 24  # points of a curve for each nine: a smooth line


def distribution(histogram: Histogram) -> str:
    """Return the percentile distribution in ms, as HdrHistogram's own method writes it."""
    hdr = histogram.to_hdr()
    out = io.BytesIO()
    hdr.output_percentile_distribution(out, _PER_MS)
    hdr.encoder = None  # it and the histogram name each other, and would wait for the collector
    # hdrh 0.10 leaves the deviation, alone of all, in the recorded unit.
    return _DEVIATION.sub(
        lambda found: f"{found[1]}{float(found[2]) / _PER_MS:12.3f}", out.getvalue().decode("ascii")
    )


def curve(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Return 1 / (1 - quantile) and ms, from the least to the greatest, evenly on an axis of nines.

    The last point is the maximum, drawn at 1 / (1 - quantile) = count: nothing is known beyond.
    """
    count = histogram.count
    if not count:
        return [], []
    steps = math.ceil(math.log10(count) * _PER_NINE) if count > 1 else 0
    odds = [count ** (step / steps) for step in range(steps)] + [float(count)] if steps else [1.0]
    values = histogram.percentiles([100.0 * (1 - 1 / odd) for odd in odds[:-1]] + [100.0])
    return [float(f"{odd:.6g}") for odd in odds], [value / _PER_MS for value in values]
