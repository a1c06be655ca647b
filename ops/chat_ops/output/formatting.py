"""Formatting of values for people: units, short numbers, no terminal control characters."""

from datetime import datetime
from typing import Any, Final

from chat_ops.table import ColumnKind

NUMERIC_KINDS: Final = frozenset({"count", "rate", "ms", "us", "seconds", "bytes", "percent"})
_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_value(value: Any, kind: ColumnKind) -> str:
    """Return `value` as text for its column's kind; values of another type are shown as they are."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape_unprintable(str(value))
    match kind:
        case "bytes":
            return format_bytes(value)
        case "us":
            return format_duration(value / 1_000_000)
        case "ms":
            return format_duration(value / 1000)
        case "seconds":
            return format_duration(value)
        case "percent":
            return f"{value:.1f} %"
        case "rate":
            return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
        case _:
            return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def format_bytes(value: float) -> str:
    """Return a number of bytes with a unit (powers of 1024)."""
    for unit in _BYTE_UNITS:
        if abs(value) < 1024 or unit == _BYTE_UNITS[-1]:
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text, from µs to days, with three digits."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    for below, scale, unit in ((0.001, 1e6, "µs"), (1.0, 1e3, "ms"), (100.0, 1.0, "s")):
        if seconds < below:
            return (
                f"{seconds * scale:.3g} {unit}"
                if seconds * scale < 999.5
                else f"{seconds * scale:.0f} {unit}"
            )
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def escape_unprintable(text: str) -> str:
    """Return `text` with unprintable characters (terminal control codes, bidirectional marks) escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
