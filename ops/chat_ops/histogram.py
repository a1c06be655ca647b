"""The latencies in the log: HdrHistograms as the server writes them, added up exactly.

Knows the server's layout (1 µs to an hour, three significant digits; reporter.py) and numpy. Must not know the
log. Histograms of equal layout are merged by adding counts, so a percentile of the sum is as exact as one of
a single histogram; percentiles themselves are never averaged.
"""

import binascii
import zlib
from collections.abc import Iterable
from typing import Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US: Final = 1
HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3


class Histogram:
    """Counts of durations in µs."""

    def __init__(self) -> None:
        self._hdr = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
        self.broken = 0
        """Payloads that could not be read, and count for nothing."""

    @classmethod
    def merge(cls, payloads: Iterable[str | None]) -> "Histogram":
        """Return the sum of base64 HdrHistograms (V2, compressed); None is an empty one."""
        merged = cls()
        for payload in payloads:
            if payload is None:
                continue
            try:
                merged._hdr.decode_and_add(payload)
            except (ValueError, TypeError, IndexError, binascii.Error, zlib.error):
                merged.broken += 1
        return merged

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return int(self._hdr.total_count)

    def percentile(self, percent: float) -> float | None:
        """Return the duration in µs that `percent` of all did not exceed, None if there are none."""
        return float(self._hdr.get_value_at_percentile(percent)) if self.count else None

    def buckets(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the highest duration (µs) and the count of each bucket that is not empty, in order."""
        pairs = [
            (item.value_iterated_to, item.count_added_in_this_iter_step)
            for item in self._hdr.get_recorded_iterator()
        ]
        return np.array([value for value, _ in pairs], np.float64), np.array([n for _, n in pairs], np.int64)
