"""Random distributions as option values: constant, uniform, log-normal.

Text forms: `160`, `64-512` (uniform), `lognormal:160,0.6` and `lognormal:160,0.6,64-4096` (median, sigma,
range).
"""

import math
import random
import re
from dataclasses import dataclass
from typing import Final

FORMS: Final = "160, 100-512 or lognormal:160,0.6"
"""The text forms, for help texts and error messages."""

MAX_SIGMA: Final = 10.0
"""At 10, one sigma is a factor of e¹⁰ from the median: more is a typing error, and overflows."""

_NUMBER: Final = r"(\d+(?:\.\d*)?|\.\d+)"
_CONSTANT: Final = re.compile(_NUMBER, re.ASCII)
_UNIFORM: Final = re.compile(rf"{_NUMBER}-{_NUMBER}", re.ASCII)
_LOGNORMAL: Final = re.compile(rf"lognormal:{_NUMBER},{_NUMBER}(?:,{_NUMBER}-{_NUMBER})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Numbers from `low` to `high`: log-normal around `median` if `sigma` is not 0, else uniform."""

    text: str
    low: float
    high: float
    median: float = 0.0
    sigma: float = 0.0

    def draw(self, source: random.Random) -> float:
        """Return a random number from `low` to `high`."""
        if self.low == self.high:
            return self.low
        if not self.sigma:
            return source.uniform(self.low, self.high)
        return min(self.high, max(self.low, self.median * source.lognormvariate(0.0, self.sigma)))


def constant(value: float) -> Distribution:
    """Return a distribution that always yields `value`."""
    return Distribution(f"{value:g}", value, value)


def parse(text: str, minimum: float = 0.0, maximum: float = math.inf) -> Distribution:
    """Parse a text form into a distribution within `minimum` and `maximum`.

    A log-normal distribution without a range is clipped to `minimum` and `maximum`. Raises ValueError with a
    message for the user: the value, what is wrong, what is accepted.
    """
    bare = "".join(text.split())
    if found := _CONSTANT.fullmatch(bare):
        value = float(found[1])
        low, high, median, sigma = value, value, 0.0, 0.0
    elif found := _UNIFORM.fullmatch(bare):
        low, high, median, sigma = float(found[1]), float(found[2]), 0.0, 0.0
    elif found := _LOGNORMAL.fullmatch(bare):
        median, sigma = float(found[1]), float(found[2])
        low, high = (float(found[3]), float(found[4])) if found[3] else (minimum, maximum)
    else:
        raise ValueError(f"{text!r} is not a distribution; write {FORMS}")
    if low > high:
        raise ValueError(f"{text!r} runs from {low:g} down to {high:g}; write the smaller number first")
    if (
        low < minimum
        or high > maximum
        or not all(math.isfinite(float(part)) for part in found.groups() if part)
    ):
        raise ValueError(f"{text!r} is out of range; the values must be {_range(minimum, maximum)}")
    if found.re is _LOGNORMAL:
        if not 0 < sigma <= MAX_SIGMA:
            raise ValueError(
                f"{text!r} has the sigma {sigma:g}; it must be above 0 and at most {MAX_SIGMA:g}, "
                f"or write the median alone for a constant"
            )
        if not low <= median <= high or not median:
            raise ValueError(
                f"{text!r} has the median {median:g}; it must be above 0 and {_range(low, high)}"
            )
    return Distribution(bare, low, high, median, sigma)


def _range(low: float, high: float) -> str:
    return f"{low:.10g} to {high:.10g}" if math.isfinite(high) else f"{low:.10g} and up"
