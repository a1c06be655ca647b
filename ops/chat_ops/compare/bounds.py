"""Bounds of a comparison, written as the failure condition: `latency.p99>+20%`, `errors>0`.

Grammar:

    bounds   = bound *("," bound)
    bound    = metric operator limit
    metric   = see metric_refs.py; `latency.p99` means accept_to_commit.p99 and commit_to_sent.p99
    operator = ">" / ">=" / "<" / "<="
    limit    = ("+" / "-") number "%"                         against the baseline; counts by their rate
             / ["+" / "-"] number ("us" / "µs" / "ms" / "s")  a time; with a sign, against the baseline
             / number ["/s" / "/min" / "/h"]                  a count, or its rate
"""

import difflib
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from chat_ops.compare import metric_refs
from chat_ops.compare.metric_refs import LATENCY, LogMetrics
from chat_ops.log.errors import UsageError

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_TIME_UNITS_US: Final = {
    "us": 1.0,
    "µs": 1.0,
    "μs": 1.0,
    "ms": 1e3,
    "s": 1e6,
}  # both letters mu: sign and Greek
_RATE_UNITS_S: Final = {"/s": 1.0, "/min": 60.0, "/h": 3600.0}
_BOUND: Final = re.compile(r"\s*([^<>=\s]+)\s*([<>]=?)\s*(\S+)\s*")
_LIMIT: Final = re.compile(r"([+-]?)([0-9]{1,15}(?:\.[0-9]{1,9})?)(\D*)", re.ASCII)
_PART: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)
_EXAMPLE: Final = "write for example latency.p99>+20% or errors>0"

BoundKind = Literal["value", "rate", "difference", "percent"]


@dataclass(frozen=True, slots=True)
class ComparisonBound:
    """A parsed bound; `limit` is in µs, in percent, or a count (per `per_s` seconds for a rate)."""

    text: str
    names: tuple[str, ...]
    sign: str
    limit: float
    kind: BoundKind
    per_s: float = 1.0


@dataclass(frozen=True, slots=True)
class BoundOutcome:
    """Result of a bound for one metric; `compared` is the value to compare, None if not measured."""

    bound: ComparisonBound
    name: str
    compared: float | None
    broken: bool


def parse_bounds(text: str) -> tuple[ComparisonBound, ...]:
    """Return the bounds in `text`. Raises `UsageError` with the faulty bound and a correction."""
    return tuple(_parse_bound(part) for part in text.split(","))


def evaluate_bound(bound: ComparisonBound, before: LogMetrics, now: LogMetrics) -> list[BoundOutcome]:
    """Return the result of a bound for each of its metrics; a metric that was not measured breaks it."""
    outcomes = []
    for name in bound.names:
        compared = _compared(bound, name, before, now)
        broken = compared is None or _OPERATORS[bound.sign](compared, bound.limit)
        outcomes.append(BoundOutcome(bound, name, compared, broken))
    return outcomes


def percent_change(before: float | None, now: float | None) -> float | None:
    """Return the growth in percent; infinite if `before` is 0; None if a value is missing."""
    if before is None or now is None:
        return None
    if not before:
        return math.inf if now > 0 else 0.0
    return 100 * (now - before) / before


def _compared(bound: ComparisonBound, name: str, before: LogMetrics, now: LogMetrics) -> float | None:
    if bound.kind == "value":
        return now.value(name)
    if bound.kind == "rate":
        return now.rate(name, bound.per_s)
    if bound.kind == "difference":
        was, value = before.value(name), now.value(name)
        return None if was is None or value is None else value - was
    if metric_refs.is_count(name):
        return percent_change(before.rate(name), now.rate(name))
    return percent_change(before.value(name), now.value(name))


def _parse_bound(text: str) -> ComparisonBound:
    found = _BOUND.fullmatch(text)
    if found is None:
        raise UsageError(f"invalid bound {text!r}: {_EXAMPLE}")
    name, sign, right = found.groups()
    names = _metric_names(name, text)
    limit = _LIMIT.fullmatch(right)
    if limit is None:
        raise UsageError(f"invalid limit {right!r} in {text!r}: {_EXAMPLE}")
    signed, number, unit = limit[1], float(limit[1] + limit[2]), limit[3]
    written = f"{name}{sign}{right}"
    if unit == "%":
        if not signed:
            raise UsageError(f"missing sign in {text!r}: write {name}{sign}+{right} or {name}{sign}-{right}")
        return ComparisonBound(written, names, sign, number, "percent")
    if metric_refs.is_time(names[0]):
        if unit not in _TIME_UNITS_US:
            raise UsageError(
                f"missing time unit in {text!r}: write {limit[2]}ms, {limit[2]}us or {limit[2]}s"
            )
        return ComparisonBound(
            written, names, sign, number * _TIME_UNITS_US[unit], "difference" if signed else "value"
        )
    if signed:
        raise UsageError(
            f"invalid sign in {text!r}, only percents and times have one: write {right}% or {limit[2]}"
        )
    if unit in _RATE_UNITS_S and metric_refs.is_count(names[0]):
        return ComparisonBound(written, names, sign, number, "rate", _RATE_UNITS_S[unit])
    if unit:
        raise UsageError(
            f"invalid unit {unit!r} for {name} in {text!r}: write {limit[2]}, or {limit[2]}/s, /min or /h"
        )
    return ComparisonBound(written, names, sign, number, "value")


def _metric_names(name: str, text: str) -> tuple[str, ...]:
    base, dot, part = name.partition(".")
    part = part.replace("p99.9", "p999")
    names = [f"{base}.{part}" if dot else base]
    if base == LATENCY:
        names = [f"{one}.{part}" for one in ("accept_to_commit", "commit_to_sent")]
    for one in names:
        if one not in metric_refs.METRIC_NAMES and not (
            base in metric_refs.METRICS_WITH_PARTS and _PART.fullmatch(part)
        ):
            known = [
                *metric_refs.METRIC_NAMES,
                *(f"{LATENCY}.{which}" for which in ("p50", "p90", "p99", "p999", "max")),
            ]
            near = difflib.get_close_matches(name, known, 3, 0.4)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"use latency.p99, {', '.join(metric_refs.TROUBLE_METRICS)}"
            )
            raise UsageError(f"unknown metric {name!r} in {text!r}: {hint}")
    return tuple(names)
