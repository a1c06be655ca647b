"""What a run's figures come to, in sentences: passed or not and why, and whether the generator kept up.

Knows a run. Must not know where the sentences are shown.
"""

import re
from collections.abc import Sequence
from typing import Final

from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import SILENT, AuditResult, GeneratorFigures, Limit, Row, Term
from chat_swarm.model.units import count, in_unit, microseconds, plural, share, significant
from chat_swarm.results.finished_run import FinishedRun

_OPERATORS: Final = {"<=": "≤", ">=": "≥", "==": "="}
_NUMBER_AND_UNIT: Final = re.compile(r"^([\d.]+)([a-zµμ].*)$")
BOTTLENECK_SHARE: Final = 0.05
"""The share of marked seconds from which on the generator is called the bottleneck of the run."""

_BOTTLENECK: Final = "the generator was the bottleneck"


def outcome(run: FinishedRun, *, written: bool = True) -> str:
    """Return `passed`, or `failed` and by what; a run whose files could not be written has not passed."""
    summary = run.summary
    if summary.passed:
        return "passed" if written else "failed: not written down (passed by its figures)"
    if not written:
        return f"{outcome(run)}; and not written down"
    causes = []
    if not summary.peak_connected:
        causes.append("no connection")
    if not summary.audit.passed:
        causes.append("the audit")
    if summary.objective is not None and not summary.objective.passed:
        causes.append("the SLO")
    if summary.limit is not None and summary.limit.held is None:
        causes.append("the first step")
    return f"failed: {' and '.join(causes)}" if causes else "failed"


def audit_sentence(result: AuditResult) -> str:
    """Return what the audit found."""
    faults = [f"{count(result.counts[kind])} {kind}" for kind in FAULTS if result.counts.get(kind)]
    checked = (
        f"{plural(result.checked, 'message')} checked at {plural(result.receivers, 'receiver')}"
        f" in {plural(result.rooms, 'room')}"
    )
    if faults:
        return f"{', '.join(faults)} ({checked})"
    return f"clean: {checked}" if result.passed else f"not whole: {checked}"


def term_value(one: Term) -> str:
    """Return a condition of an SLO and what was measured for it."""
    return one.why if one.value is None else in_unit(one.value * _unit_factor(one.unit), _base_unit(one.unit))


def _unit_factor(unit: str) -> float:
    return {"s": 1e6, "ms": 1e3, "MiB": 1024.0}.get(unit, 1.0)


def _base_unit(unit: str) -> str:
    return {"s": "µs", "ms": "µs", "MiB": "KiB"}.get(unit, unit)


def marked_seconds(run: FinishedRun) -> tuple[int, int]:
    """Return how many of the headline's seconds are marked, and how many there are, marked ones included."""
    rows = _headline_rows(run)
    return sum(1 for row in rows if row.marked), len(rows)


def _headline_rows(run: FinishedRun) -> list[Row]:
    """Return the headline's seconds, marked ones included."""
    return run.rows_of(run.summary.headline if run.summary.headline != "clean" else "steady")


def kept_up(run: FinishedRun) -> bool:
    """Return whether so few seconds are marked that the run's rates are the server's."""
    marked, seconds = marked_seconds(run)
    return marked <= BOTTLENECK_SHARE * seconds


def why_marked(rows: Sequence[Row]) -> str:
    """Return what the marked ones of these seconds are marked for, as a clause; "" if none is."""
    reasons = {row.marked for row in rows if row.marked}
    clauses = [_BOTTLENECK] if reasons - {SILENT} else []
    return " or ".join(clauses + ([SILENT] if SILENT in reasons else []))


def severity(run: FinishedRun) -> str:
    """Return `good`, `late` where some seconds are marked, or `bad`: how much to believe the rates."""
    if not run.summary.generator.stamped or not kept_up(run):
        return "bad"
    return "late" if marked_seconds(run)[0] else "good"


def generator_sentence(run: FinishedRun) -> str:
    """Return whether the generator was the bottleneck or fell silent, and what that means, in sentences."""
    lag = run.scope(run.summary.headline).metrics.get("bot_lag")
    late = f"99 % of what arrived was seen within {microseconds(lag.p99)}" if lag and lag.count else ""
    if not run.summary.generator.stamped:
        return (
            "The kernel stamped nothing that arrived, so latencies hold the bots' own lag:"
            " they are upper bounds of the server's."
        )
    marked, seconds = marked_seconds(run)
    if not marked and (unseen := run.summary.unseen):
        part = share(unseen, run.scope(run.summary.headline).counts["delivered"])
        return f"No second is marked, but {part} of what arrived was read too late to be timed."
    if not marked:
        return f"The generator kept up: no second is marked{f', and {late}' if late else ''}."
    silent = sum(1 for row in _headline_rows(run) if row.marked == SILENT)
    slow = marked - silent

    def of(some: int) -> str:
        return f"{plural(some, 'second')} of {seconds:,} ({share(some, seconds)})"

    if kept_up(run):
        parts = [f"The generator was late in {of(slow)}"] if slow else []
        parts += [f"{SILENT} in {of(silent)}"] if silent else []
        text = ", and ".join(parts)
        return f"{_capitalise(text)}; the rest is sound{f', and {late}' if late else ''}."
    sentences = []
    if silent:
        sentences.append(
            f"{_capitalise(SILENT)} in {of(silent)}: it died, was ended, or stood still, and its"
            " own log may say why. Its bots said nothing then, so the rates are not what the server can do;"
            " the latencies that were measured hold."
        )
    if slow:
        sentences.append(
            f"The generator was the bottleneck in {of(slow)}: it sent less, and later, than was asked for."
            " Latencies are timed by the kernel's stamps and hold; the rates may be the generator's limit,"
            " not the server's."
        )
    return " ".join(sentences)


def _capitalise(clause: str) -> str:
    """Return a clause as a sentence begins; its names keep their case."""
    return clause[0].upper() + clause[1:]


def limit_sentence(found: Limit) -> str:
    """Return what the search for the limit came to."""
    unit = "messages a second" if found.by == "rate" else "connections"
    why = f": {found.why}" if found.why else ""
    if found.held is None and found.broke is None:
        return f"No step was measured to its end{why}."
    if found.held is None:
        return f"Not even the first step held{why}."
    if found.at_least:
        return f"At least {count(found.held)} {unit} held, and the server was not seen to break{why}."
    if found.broke is None:
        return f"{count(found.held)} {unit} held, and no step broke{why}."
    return f"{count(found.held)} {unit} held; {count(found.broke)} broke{why}."


def format_condition(text: str) -> str:
    """Return a condition's text with its comparison set apart, as `delivery.p99 < 50 ms`."""
    for sign in ("<=", ">=", "==", "<", ">", "="):
        left, found, right = text.partition(sign)
        if found:
            spaced = _NUMBER_AND_UNIT.sub(r"\1 \2", right)
            return f"{left} {_OPERATORS.get(sign, sign)} {spaced}"
    return text


def other_load(figures: GeneratorFigures) -> str | None:
    """Return how many cores others kept busy, and how many were withheld; None if nobody looked."""
    if figures.others_cores is None or figures.stolen_cores is None:
        return None
    others, stolen = significant(figures.others_cores), significant(figures.stolen_cores)
    return f"other programs kept {others} cores busy, a hypervisor withheld {stolen}"
