"""When to try again: waits that grow, and differ between clients so that they do not come back all at once.

Knows numbers. Must not sleep, nor know what is being tried.
"""

import random
from collections.abc import Callable

FIRST_WAIT_S = 0.5
"""Seconds before the first try: a restarted server needs about that."""
MAX_WAIT_S = 30.0
"""Seconds at most: a person who fixed the network should not wait longer."""


class Backoff:
    """Waits of half to the whole of 0.5, 1, 2 … 30 seconds."""

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
        """Return the seconds to wait; not less than `after`, which the server asked for."""
        step = min(self._longest, self._first * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        wait = step * (0.5 + self._random_fraction() / 2)
        return wait if after is None else max(wait, after + step * self._random_fraction())

    def reset(self) -> None:
        """Begin anew, after a connection that lasted."""
        self._attempts = 0
