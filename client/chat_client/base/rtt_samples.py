"""Round-trip times as this client measured them, in milliseconds.

Knows numbers. Must not know where they come from.
"""

import math
import threading
from collections import deque
from collections.abc import Sequence

KEPT_SAMPLES = 1024
"""Samples kept for percentiles: over an hour and a half at one ping in five seconds, 8 KiB."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of sorted values: always one that was measured."""
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


class RttSamples:
    """The last samples, their number and the least of all. Any thread may ask."""

    def __init__(self, kept: int = KEPT_SAMPLES) -> None:
        self._lock = threading.Lock()
        self._values: deque[float] = deque(maxlen=kept)
        self.count = 0
        self.last_ms: float | None = None
        self.min_ms: float | None = None

    def add(self, value_ms: float) -> None:
        """Take one more."""
        with self._lock:
            self._values.append(value_ms)
            self.count += 1
            self.last_ms = value_ms
            self.min_ms = value_ms if self.min_ms is None else min(self.min_ms, value_ms)

    def values(self) -> list[float]:
        """Return the kept ones, oldest first."""
        with self._lock:
            return list(self._values)

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile of the kept ones, None while there are none."""
        values = self.values()
        return percentile(sorted(values), percent) if values else None
