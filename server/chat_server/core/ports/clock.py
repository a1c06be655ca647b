"""The port to time: one clock for durations, one for timestamps."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to compare, one to show."""

    def monotonic(self) -> float:
        """Seconds that only grow, for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the Unix epoch, UTC, for `timestamp`."""
