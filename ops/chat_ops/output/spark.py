"""Sparklines: numbers as a line of block characters."""

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int = 0, top: float | None = None) -> str:
    """Return one character per value, scaled to `top` (default: the maximum); None is a space.

    If there are more values than `width` (0: no limit), each character shows the maximum of its neighbours.
    """
    shown = _downsample(values, width) if 0 < width < len(values) else list(values)
    highest = max((value for value in shown if value is not None), default=0) if top is None else top
    return "".join(_bar(value, highest) for value in shown)


def _bar(value: float | None, highest: float) -> str:
    if value is None:
        return " "  # unknown, which is not zero
    if value <= 0 or highest <= 0:
        return BARS[0]
    return BARS[min(int(value / highest * len(BARS)), len(BARS) - 1)]


def _downsample(values: Sequence[float | None], width: int) -> list[float | None]:
    joined: list[float | None] = []
    for index in range(width):
        some = values[index * len(values) // width : (index + 1) * len(values) // width]
        joined.append(max((value for value in some if value is not None), default=None))
    return joined
