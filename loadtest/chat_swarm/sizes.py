"""Distributions of sizes and times, as an option gives them.

Knows numbers. Must not know what they are used for.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """Numbers from `low` to `high`: log-normal around `median` where `sigma` is not 0, else uniform."""

    text: str
    low: float
    high: float
    median: float = 0.0
    sigma: float = 0.0

    def draw(self, source: random.Random) -> float:
        """Return a number."""
        if self.low == self.high:
            return self.low
        if not self.sigma:
            return source.uniform(self.low, self.high)
        return min(self.high, max(self.low, self.median * source.lognormvariate(0.0, self.sigma)))


def constant(value: float) -> Distribution:
    """Return the distribution that is always `value`."""
    return Distribution(f"{value:g}", value, value)
