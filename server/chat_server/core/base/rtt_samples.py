"""Round-trip times of one session: minimum, count, and the last 64 samples."""

import math
from array import array
from typing import Final

SAMPLES_KEPT: Final = 64


class RttSamples:
    """Samples in milliseconds, oldest first."""

    __slots__ = ("_recent", "count", "minimum_ms")

    def __init__(self) -> None:
        self._recent = array("f")
        self.count = 0
        self.minimum_ms = float("inf")

    def record(self, milliseconds: float) -> None:
        """Add a sample, and drop the oldest if there are too many."""
        self.count += 1
        self.minimum_ms = min(self.minimum_ms, milliseconds)
        self._recent.append(milliseconds)
        if len(self._recent) > SAMPLES_KEPT:
            del self._recent[0]

    @property
    def last_ms(self) -> float:
        """The newest sample. Raises IndexError if there is none."""
        return round(self._recent[-1], 3)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the kept samples (nearest rank). Raises IndexError if there is none."""
        ranked = sorted(self._recent)
        return round(ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)], 3)
