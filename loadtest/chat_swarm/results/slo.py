"""Service level objectives (SLOs): parsing and evaluation of `delivery.p99<50ms,lost=0`.

The grammar:

    SLO       = condition *("," condition)
    condition = figure operator number [unit]
    figure    = see metric_refs.py: delivery.p99, lost, sent.rate, connected, server.cpu_us_per_delivery
    operator  = "<" / "<=" / ">" / ">=" / "=" / "=="
    unit      = "us" / "µs" / "ms" / "s"  for latencies, required; "/s", "KiB", "MiB", "cores" are optional
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chat_swarm.model.schema import Objective, SloTerm
from chat_swarm.results.metric_refs import (
    Measurements,
    MetricKind,
    MetricRef,
    look_up_metric,
    parse_metric_ref,
)

__all__ = ["OPERATORS", "Condition", "evaluate", "parse_slo"]

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
}

_US_PER_TIME_UNIT: Final = {
    "us": 1.0,
    "µs": 1.0,
    "μs": 1.0,
    "ms": 1e3,
    "s": 1e6,
}  # both letters mu: sign and Greek
_UNIT_FACTORS: Final[dict[str, dict[str, float]]] = {
    "µs": _US_PER_TIME_UNIT,
    "/s": {"": 1.0, "/s": 1.0},
    "KiB": {"": 1.0, "KiB": 1.0, "MiB": 1024.0},
    "cores": {"": 1.0, "cores": 1.0},
    "": {"": 1.0},
}
"""Unit of a figure → units accepted for it → factor to the figure's unit."""

_CONDITION_PATTERN: Final = re.compile(r"([^<>=!]*)([<>=!]+)(.*)", re.DOTALL)
_LIMIT_PATTERN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(\S*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of an SLO; `limit` is in `unit`, and one `unit` is `factor` of the figure's units."""

    text: str
    ref: MetricRef
    operator: str
    limit: float
    unit: str = ""
    factor: float = 1.0


def parse_slo(text: str) -> tuple[Condition, ...]:
    """Return the conditions of an SLO. Raises `ValueError` with a sentence that quotes the wrong one."""
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise ValueError("the SLO is empty; write for example delivery.p99<50ms,lost=0")
    if not all(parts):
        raise ValueError(f"{text!r} has a comma without a condition before or after it")
    return tuple(_parse_condition(part) for part in parts)


def _parse_condition(text: str) -> Condition:
    found = _CONDITION_PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} has no comparison: write for example delivery.p99<50ms or lost=0")
    name, sign, right = (part.strip() for part in found.groups())
    if not name:
        raise ValueError(f"{text!r} does not name a figure: write for example delivery.p99{text}")
    ref = parse_metric_ref(name)
    if sign not in OPERATORS:
        raise ValueError(f"in {text!r}, {sign!r} is not an operator: use one of {' '.join(OPERATORS)}")
    limit = _LIMIT_PATTERN.fullmatch(right)
    if limit is None:
        raise ValueError(f"in {text!r}, {right!r} is not a limit: write a number of at least 0 and its unit")
    unit = limit[2]
    units = _UNIT_FACTORS[ref.unit]
    if ref.unit == "µs" and not unit and ref.kind is MetricKind.SINGLE:
        unit = "us"  # it is part of the name, as in server.cpu_us_per_delivery
    if unit not in units:
        raise ValueError(_wrong_unit(text, ref, limit[1], unit))
    return Condition(f"{name}{sign}{limit[1]}{limit[2]}", ref, sign, float(limit[1]), unit, units[unit])


def _wrong_unit(text: str, ref: MetricRef, number: str, unit: str) -> str:
    if ref.unit == "µs":
        what = f"{unit!r} is not a unit of time" if unit else "the unit is missing"
        return f"in {text!r} {what}: write {number}ms, {number}us or {number}s"
    known = [name for name in _UNIT_FACTORS[ref.unit] if name]
    also = f" ({' or '.join(known)} may follow it)" if known else ""
    return f"in {text!r}, {unit!r} is not a unit of {ref.name}: write just {number}{also}"


def evaluate(slo: str | tuple[Condition, ...], of: Measurements, scope: str) -> Objective:
    """Return the result of an SLO over a scope; a figure that was not measured breaks its condition."""
    conditions = parse_slo(slo) if isinstance(slo, str) else slo
    terms = [_evaluate_condition(condition, of) for condition in conditions]
    text = slo if isinstance(slo, str) else ",".join(condition.text for condition in conditions)
    return Objective(text=text, scope=scope, passed=all(term.passed for term in terms), terms=terms)


def _evaluate_condition(condition: Condition, of: Measurements) -> SloTerm:
    found = look_up_metric(condition.ref, of)
    value = None if found.value is None else found.value / condition.factor
    return SloTerm(
        text=condition.text,
        passed=value is not None and OPERATORS[condition.operator](value, condition.limit),
        value=value,
        limit=condition.limit,
        unit=condition.unit or condition.ref.unit,
        why=found.why if value is None else "",
    )
