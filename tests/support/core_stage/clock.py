"""A clock that the test sets."""

from __future__ import annotations


class Clock:
    """Does not move until it is advanced."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1.7e9

    def advance(self, seconds: float) -> None:
        self.now += seconds
