"""Exponential backoff with jitter, so that clients do not reconnect all at once. The caller sleeps."""

import random
from collections.abc import Callable

FIRST_WAIT_S = 0.5
"""Before the first attempt: a server needs about that to restart."""
MAX_WAIT_S = 30.0
"""Upper limit: after the network has been repaired, nobody should wait longer."""


class Backoff:
    """Random waits of 50 to 100 % of 0.5, 1, 2 … 30 seconds (`first` to `longest`)."""

    def __init__(
        self,
        first: float = FIRST_WAIT_S,
        longest: float = MAX_WAIT_S,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._longest = longest
        self._random_fraction = random_fraction
        self._attempts = 0

    def next_wait(self, after: float | None = None) -> float:
        """Return the seconds to wait before the next attempt; at least `after`, requested by the server."""
        step = min(self._longest, self._first * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        wait = step * (0.5 + self._random_fraction() / 2)
        return wait if after is None else max(wait, after + step * self._random_fraction())

    def reset(self) -> None:
        """Start again with the first wait, after a connection that was stable."""
        self._attempts = 0
