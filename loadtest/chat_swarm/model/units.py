"""Numbers formatted for people: latencies, counts, bytes, durations, percentages."""

from typing import Final

DASH: Final = "-"


def microseconds(value: float | None) -> str:
    """Return a latency in µs, ms or s, three significant digits."""
    if value is None:
        return DASH
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if value >= size * 0.9995:
            return f"{significant(value / size)} {unit}"
    return f"{significant(value)} µs"


def significant(value: float) -> str:
    """Return a number with at least three significant digits, and thousands separators."""
    size = abs(value)
    digits = 0 if size >= 99.95 or value == int(value) else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:,.{digits}f}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separators."""
    return DASH if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Return a number of bytes in B, KiB, MiB or GiB."""
    if value is None:
        return DASH
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= factor:
            return f"{significant(value / factor)} {unit}"
    return f"{value:,.0f} B"


def duration(seconds: float) -> str:
    """Return seconds as `1 h 02 min`, `3 min 20 s` or `75 s`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes > 1 else f"{whole} s"


def in_unit(value: float | None, unit: str) -> str:
    """Return a number with the unit of a metric or of an SLO condition."""
    if value is None:
        return DASH
    if unit in {"µs", "us", "μs"}:
        return microseconds(value)
    if unit == "KiB":
        return size(value * 1024)
    text = count(value) if value == int(value) else significant(value)
    return f"{text}{unit}" if unit == "/s" else f"{text} {unit}".rstrip()


def percentage(part: float, whole: float) -> str:
    """Return `part` of `whole` as a percentage."""
    return f"{100 * part / whole:.3g} %" if whole else DASH


def signed_percentage(value: float) -> str:
    """Return a relative change as a signed percentage; `inf` is a change from 0."""
    if value == float("inf"):
        return "from 0"
    return f"{100 * value:+.1f} %"


def printable(text: str) -> str:
    """Return text with unprintable characters, such as terminal escapes, replaced by `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def plural(number: float, noun: str) -> str:
    """Return a count with its noun: `1 second`, `2 seconds`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"
