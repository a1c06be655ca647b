"""Time steps that lines are grouped by: parsing, choice and SQL of their width."""

import re
from datetime import timedelta
from typing import Final

from chat_ops.log.errors import UsageError
from chat_ops.log.event_log import EventLog

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(?:[0-9]{1,6}[smhdw])+")
_DURATION_PART: Final = re.compile(r"([0-9]+)([smhdw])")
ROUND_WIDTHS_S: Final = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800)
"""Round step widths, in seconds."""
DEFAULT_STEPS: Final = 48
"""Steps that fit on a screen."""
MAX_STEPS: Final = 100_000
"""More rows are refused, e.g. `--every 1s` over a year."""

LINE_TIME_SQL: Final = "(ts - to_microseconds((coalesce(interval_s, 0) * 500000)::BIGINT))"
"""SQL for the time of a line; an interval, logged at its end, counts at its middle."""


def parse_width(text: str) -> int:
    """Return the width of `text` (`90s`, `5m`, `1h30m`, `1d`) in seconds. Raises `UsageError`."""
    width = (
        sum(int(n) * _UNIT_S[unit] for n, unit in _DURATION_PART.findall(text))
        if _DURATION.fullmatch(text)
        else 0
    )
    if not width:
        raise UsageError(f"invalid step {text!r}: write 10s, 5m, 1h or 1d")
    return width


def choose_width(log: EventLog, requested: str | None, max_steps: int = DEFAULT_STEPS) -> int:
    """Return the step width in seconds: the requested one, or a round one for the log's period."""
    first, last = log.span
    if first is None or last is None:
        return parse_width(requested) if requested else ROUND_WIDTHS_S[0]
    first = max(first, log.filters.since or first)
    last = min(last, log.filters.until or last)
    span = max((last - first) / timedelta(seconds=1), 1.0)
    if requested is None:
        return next((width for width in ROUND_WIDTHS_S if span / width <= max_steps), ROUND_WIDTHS_S[-1])
    width = parse_width(requested)
    if span / width > MAX_STEPS:
        raise UsageError(f"--every {requested} gives more than {MAX_STEPS:,} rows: choose a wider step")
    return width


def bucket_sql(width: int, time_sql: str = LINE_TIME_SQL) -> str:
    """Return SQL for the start of the step that a line is in; whole days begin at midnight, UTC."""
    return f"time_bucket(to_seconds({width}), {time_sql})"


def format_width(width: int) -> str:
    """Return the width as text that `parse_width` accepts."""
    unit = next(unit for unit in ("w", "d", "h", "m", "s") if width % _UNIT_S[unit] == 0)
    return f"{width // _UNIT_S[unit]}{unit}"
