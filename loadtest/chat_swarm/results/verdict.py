"""Verdict sentences on a run: passed or failed and why, and whether the load generator kept up.

The seconds are marked in bots/bot_process.py and runner/collector.py; model/bottleneck.py has the limits.
"""

import re
from collections.abc import Sequence
from typing import Final

from chat_swarm.model.bottleneck import SILENT_PROCESS_REASON, is_run_generator_bound
from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import (
    AuditResult,
    CapacityResult,
    GeneratorFigures,
    SloTerm,
    Summary,
    TimelineRow,
)
from chat_swarm.model.units import count, in_unit, microseconds, percentage, plural, significant
from chat_swarm.results.finished_run import FinishedRun

_OPERATORS: Final = {"<=": "≤", ">=": "≥", "==": "="}
_NUMBER_AND_UNIT: Final = re.compile(r"^([\d.]+)([a-zµμ].*)$")
_FAULTS_SHOWN: Final = 5
_BOTTLENECK: Final = "the generator was the bottleneck"


def outcome(run: FinishedRun, *, written: bool = True) -> str:
    """Return `passed`, or `failed` and why; a run whose files could not be written has failed."""
    summary = run.summary
    if summary.passed:
        return "passed" if written else "failed: files not written (the measurements passed)"
    if not written:
        return f"{outcome(run)}; and files not written"
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
    """Return what the audit found and how much it checked."""
    faults = [f"{count(result.counts[kind])} {kind}" for kind in FAULTS if result.counts.get(kind)]
    checked = (
        f"{plural(result.checked, 'message')} checked at {plural(result.receivers, 'receiver')}"
        f" in {plural(result.rooms, 'room')}"
    )
    if faults:
        return f"{', '.join(faults)} ({checked})"
    return f"clean: {checked}" if result.passed else f"incomplete: {checked}"


def fault_sentences(result: AuditResult) -> list[str]:
    """Return the first faults with bot, room and seq, and whose they are; empty if there are none."""
    if not result.faults:
        return []
    lines = []
    for fault in result.faults[:_FAULTS_SHOWN]:
        seqs = f"seq {fault.first}" if fault.first == fault.last else f"seqs {fault.first} to {fault.last}"
        where = f"{fault.kind}, room {fault.room}" + (f", {seqs}" if fault.last else "")
        lines.append(f"{where}: {fault.detail}")
    if len(result.faults) > _FAULTS_SHOWN:
        lines.append(f"… and more: the report lists {plural(len(result.faults), 'fault')}")
    lines.append("faults are the server's, or the path's to it: no lag of the bots can cause one")
    return lines


def slowest_sentence(summary: Summary) -> str:
    """Return the slowest delivery, and whose delay it was; "" if none was timed."""
    one = summary.slowest
    if one is None:
        return ""
    return (
        f"{microseconds(one.us)} to {one.bot}, room {one.room}, seq {one.seq}: by kernel timestamps, so the"
        " server's or the path's delay, not the bot's"
    )


def term_value(one: SloTerm) -> str:
    """Return the value measured for a condition of an SLO, with its unit, or why there is none."""
    return one.why if one.value is None else in_unit(one.value * _unit_factor(one.unit), _base_unit(one.unit))


def _unit_factor(unit: str) -> float:
    return {"s": 1e6, "ms": 1e3, "MiB": 1024.0}.get(unit, 1.0)


def _base_unit(unit: str) -> str:
    return {"s": "µs", "ms": "µs", "MiB": "KiB"}.get(unit, unit)


def marked_seconds(run: FinishedRun) -> tuple[int, int]:
    """Return (marked seconds, all seconds) of the headline scope; `clean` counts as `steady` here."""
    rows = _headline_rows(run)
    return sum(1 for row in rows if row.marked), len(rows)


def _headline_rows(run: FinishedRun) -> list[TimelineRow]:
    """Return the headline scope's rows, including marked ones."""
    return run.rows_of(run.summary.headline if run.summary.headline != "clean" else "steady")


def kept_up(run: FinishedRun) -> bool:
    """Return whether few enough seconds are marked for the rates to be the server's."""
    return not is_run_generator_bound(*marked_seconds(run))


def why_marked(rows: Sequence[TimelineRow]) -> str:
    """Return why some of these seconds are marked, as a clause; "" if none is."""
    reasons = {row.marked for row in rows if row.marked}
    clauses = [_BOTTLENECK] if reasons - {SILENT_PROCESS_REASON} else []
    return " or ".join(clauses + ([SILENT_PROCESS_REASON] if SILENT_PROCESS_REASON in reasons else []))


def severity(run: FinishedRun) -> str:
    """Return how reliable the rates are: `good`, `late` (some seconds are marked) or `bad`."""
    if not run.summary.generator.stamped or not kept_up(run):
        return "bad"
    return "late" if marked_seconds(run)[0] else "good"


def generator_sentence(run: FinishedRun) -> str:
    """Return sentences: whether the generator was the bottleneck or silent, and what that means."""
    lag = run.scope(run.summary.headline).metrics.get("bot_lag")
    late = f"99 % of the input was read within {microseconds(lag.p99)}" if lag and lag.count else ""
    if not run.summary.generator.stamped:
        return (
            "No kernel receive timestamps, so latencies include the bots' own lag:"
            " they are upper bounds of the server's."
        )
    marked, seconds = marked_seconds(run)
    if not marked and (untimed := run.summary.untimed_deliveries):
        part = percentage(untimed, run.scope(run.summary.headline).counts["delivered"])
        return f"No second is marked, but {part} of the deliveries were read too late to be timed."
    if not marked:
        return f"The generator kept up: no second is marked{f', and {late}' if late else ''}."
    silent = sum(1 for row in _headline_rows(run) if row.marked == SILENT_PROCESS_REASON)
    slow = marked - silent

    def of(some: int) -> str:
        return f"{plural(some, 'second')} of {seconds:,} ({percentage(some, seconds)})"

    if kept_up(run):
        parts = [f"The generator was late in {of(slow)}"] if slow else []
        parts += [f"{SILENT_PROCESS_REASON} in {of(silent)}"] if silent else []
        text = ", and ".join(parts)
        return f"{_capitalise(text)}; the rest is reliable{f', and {late}' if late else ''}."
    sentences = []
    if silent:
        sentences.append(
            f"{_capitalise(SILENT_PROCESS_REASON)} in {of(silent)}: it died, was killed or was stopped; its"
            " log may say why. Its bots sent nothing then, so the rates are not the server's limit;"
            " the measured latencies are valid."
        )
    if slow:
        sentences.append(
            f"The generator was the bottleneck in {of(slow)}: it sent less, and later, than planned."
            " Latencies use kernel timestamps and are valid; the rates may be the generator's limit,"
            " not the server's."
        )
    return " ".join(sentences)


def _capitalise(clause: str) -> str:
    """Return a clause with its first letter in upper case."""
    return clause[0].upper() + clause[1:]


def limit_sentence(found: CapacityResult) -> str:
    """Return the result of a capacity search."""
    unit = "messages per second" if found.by == "rate" else "connections"
    why = f": {found.why}" if found.why else ""
    if found.held is None and found.broke is None:
        return f"No step was measured completely{why}."
    if found.held is None:
        return f"Not even the first step held{why}."
    if found.at_least:
        return f"At least {count(found.held)} {unit} held, and the server's limit was not reached{why}."
    if found.broke is None:
        return f"{count(found.held)} {unit} held, and no step broke{why}."
    return f"{count(found.held)} {unit} held; {count(found.broke)} broke{why}."


def format_condition(text: str) -> str:
    """Return a condition's text with spaces and one sign per operator, as `delivery.p99 < 50 ms`."""
    for sign in ("<=", ">=", "==", "<", ">", "="):
        left, found, right = text.partition(sign)
        if found:
            spaced = _NUMBER_AND_UNIT.sub(r"\1 \2", right)
            return f"{left} {_OPERATORS.get(sign, sign)} {spaced}"
    return text


def other_load(figures: GeneratorFigures) -> str | None:
    """Return how many cores other programs used and a hypervisor stole; None if not sampled."""
    if figures.others_cores is None or figures.stolen_cores is None:
        return None
    others, stolen = significant(figures.others_cores), significant(figures.stolen_cores)
    return f"other programs used {others} cores, a hypervisor stole {stolen}"
