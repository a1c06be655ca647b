"""Round-trip times measured by this client, in milliseconds."""

import math
import threading
from collections import deque
from collections.abc import Sequence

KEPT_SAMPLES = 1024
"""Samples kept for percentiles: 85 minutes at one ping in five seconds, 8 KiB."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of sorted values, which is always a measured one."""
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


class RttSamples:
    """The last `kept` samples, and the count, last and minimum of all. Thread-safe."""

    def __init__(self, kept: int = KEPT_SAMPLES) -> None:
        self._lock = threading.Lock()
        self._values: deque[float] = deque(maxlen=kept)
        self.count = 0
        self.last_ms: float | None = None
        self.min_ms: float | None = None

    def add(self, value_ms: float) -> None:
        """Add a sample, in milliseconds."""
        with self._lock:
            self._values.append(value_ms)
            self.count += 1
            self.last_ms = value_ms
            self.min_ms = value_ms if self.min_ms is None else min(self.min_ms, value_ms)

    def values(self) -> list[float]:
        """Return the kept samples, oldest first."""
        with self._lock:
            return list(self._values)

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile (0 to 100) of the kept samples; None if there are none."""
        values = self.values()
        return percentile(sorted(values), percent) if values else None
