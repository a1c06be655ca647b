"""The clock port: monotonic time for durations, wall-clock time for timestamps."""

from typing import Protocol


class Clock(Protocol):
    """Time in seconds, for the core and for tests."""

    def monotonic(self) -> float:
        """Monotonic time, for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the Unix epoch (UTC), for `timestamp`."""
