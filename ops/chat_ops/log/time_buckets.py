"""Steps of time that lines are gathered in: how wide, and how DuckDB says them.

Knows durations as people write them. Must not know what is counted.
"""

import re
from datetime import timedelta
from typing import Final

from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import Log

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRITTEN: Final = re.compile(r"(?:[0-9]{1,6}[smhdw])+")
_PART: Final = re.compile(r"([0-9]+)([smhdw])")
NICE: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)
"""Seconds of steps that people can read off a clock or a calendar."""
WANTED: Final = 48
"""Steps that fit on a screen, at most."""
MOST: Final = 100_000
"""Rows that a report may have by mistake of `--every 1s` over a year: more is refused."""

MOMENT: Final = "(ts - to_microseconds((coalesce(interval_s, 0) * 500000)::BIGINT))"
"""SQL: when a line happened: an interval counts for its middle, as its line is written at its end."""


def seconds(text: str) -> int:
    """Return the width that `text` means (`90s`, `5m`, `1h30m`, `1d`). Raises UsageError."""
    width = sum(int(n) * _UNITS[unit] for n, unit in _PART.findall(text)) if _WRITTEN.fullmatch(text) else 0
    if not width:
        raise UsageError(f"{text!r} is no step of time: write 10s, 5m, 1h or 1d")
    return width


def width_for(log: Log, asked: str | None, wanted: int = WANTED) -> int:
    """Return the width in seconds: the one that was asked for, or a nice one for what the log covers."""
    first, last = log.span
    if first is None or last is None:
        return seconds(asked) if asked else NICE[0]
    first = max(first, log.filters.since or first)
    last = min(last, log.filters.until or last)
    span = max((last - first) / timedelta(seconds=1), 1.0)
    if asked is None:
        return next((width for width in NICE if span / width <= wanted), NICE[-1])
    width = seconds(asked)
    if span / width > MOST:
        raise UsageError(f"--every {asked} makes more than {MOST:,} rows here: take a wider step")
    return width


def bucket(width: int, moment: str = MOMENT) -> str:
    """Return SQL for the first moment of the step that a line is in; whole days begin at midnight, UTC."""
    return f"time_bucket(to_seconds({width}), {moment})"


def named(width: int) -> str:
    """Return the width in words that `seconds` understands."""
    unit = next(unit for unit in ("w", "d", "h", "m", "s") if width % _UNITS[unit] == 0)
    return f"{width // _UNITS[unit]}{unit}"
