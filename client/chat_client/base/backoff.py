"""When to try again: waits that grow, and differ between clients so that they do not come back all at once.

Knows numbers. Must not sleep, nor know what is being tried.
"""

import random
from collections.abc import Callable

FIRST = 0.5
"""Seconds before the first try: a restarted server needs about that."""
LONGEST = 30.0
"""Seconds at most: a person who fixed the network should not wait longer."""


class Backoff:
    """Waits of half to the whole of 0.5, 1, 2 … 30 seconds."""

    def __init__(
        self, first: float = FIRST, longest: float = LONGEST, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._tries = 0

    def next_wait(self, after: float | None = None) -> float:
        """Return the seconds to wait; not less than `after`, which the server asked for."""
        step = min(self._longest, self._first * 2.0 ** min(self._tries, 32))
        self._tries += 1
        wait = step * (0.5 + self._chance() / 2)
        return wait if after is None else max(wait, after + step * self._chance())

    def reset(self) -> None:
        """Begin anew, after a connection that lasted."""
        self._tries = 0
