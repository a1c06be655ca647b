"""Tables of report.html: latencies, counts, audit, faults, steps, errors, options, machine."""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from chat_swarm.model.metric_names import COUNTS, FAULTS, METRICS
from chat_swarm.model.schema import Quantiles, Scope, Step
from chat_swarm.model.units import DASH, count, microseconds, significant, size
from chat_swarm.results import verdict
from chat_swarm.results.finished_run import FinishedRun

_QUANTILE_COLUMNS: Final = {
    "mean": "mean",
    "min": "min",
    "p50": "p50",
    "p90": "p90",
    "p99": "p99",
    "p99.9": "p999",
    "p99.99": "p9999",
    "max": "max",
}


class TableRow(Struct, kw_only=True):
    """A row; `style` is its CSS class: `good`, `bad`, `quiet`, `own` (of the generator) or ""."""

    cells: list[str]
    style: str = ""


class PageTable(Struct, kw_only=True):
    """A table; `kind` is its CSS class: `numbers`, `meaning` (the last column is prose) or `words`."""

    head: list[str]
    rows: list[TableRow]
    kind: str = "numbers"


def latencies(scope: Scope) -> PageTable:
    """Return all latencies of a scope, with all quantiles."""
    rows = []
    for metric in METRICS:
        short = scope.metrics.get(metric.name) or Quantiles()
        if short.count:
            values = [microseconds(getattr(short, part)) for part in _QUANTILE_COLUMNS.values()]
            style = "" if metric.measures_server else "own"
            rows.append(
                TableRow(cells=[metric.name, count(short.count), *values, metric.meaning], style=style)
            )
        else:
            empty = [DASH] * len(_QUANTILE_COLUMNS)
            rows.append(TableRow(cells=[metric.name, "0", *empty, metric.meaning], style="quiet"))
    return PageTable(head=["", "count", *_QUANTILE_COLUMNS, "from → to"], rows=rows, kind="meaning")


def counts(run: FinishedRun) -> PageTable:
    """Return all counts, of the whole run and of its headline scope."""
    name = run.summary.headline
    whole, some = run.scope("all"), run.scope(name)
    rows = []
    for key, meaning in COUNTS.items():
        amount = size if key.endswith("_bytes") else count
        all_of_it, part = whole.counts.get(key, 0), some.counts.get(key, 0)
        rate = part / some.seconds if some.seconds else None
        shown = DASH if rate is None else amount(rate) if rate >= 10 or not rate else significant(rate)
        style = "" if all_of_it else "quiet"
        rows.append(TableRow(cells=[key, amount(all_of_it), amount(part), shown, meaning], style=style))
    return PageTable(head=["", "whole run", name, "/s", "meaning"], rows=rows, kind="meaning")


def audit(run: FinishedRun) -> PageTable:
    """Return the audit's kinds of faults with their counts, and how much it checked."""
    found = run.summary.audit
    rows = [
        TableRow(
            cells=[kind, count(found.counts.get(kind, 0)), meaning],
            style="bad" if found.counts.get(kind) else "good",
        )
        for kind, meaning in FAULTS.items()
    ]
    for title, number, meaning in (
        ("checked", found.checked, "messages, counted per receiver"),
        ("receivers", found.receivers, "pairs of bot and room that were checked"),
        ("rooms", found.rooms, "whose order was checked"),
        ("explained gaps", found.explained_gaps, "seqs no longer stored, missed by bots away or slow"),
        ("uncompared", found.uncompared, "messages received too late to be compared with the others'"),
        ("unfinished", found.unfinished, "receivers that lacked messages when the drain ended"),
    ):
        rows.append(TableRow(cells=[title, count(number), meaning], style="quiet"))
    return PageTable(head=["", "found", "meaning"], rows=rows, kind="meaning")


def faults(run: FinishedRun) -> PageTable:
    """Return the first faults that the audit found."""
    rows = [
        TableRow(
            cells=[
                fault.kind,
                fault.room,
                fault.bot,
                str(fault.first) if fault.first == fault.last else f"{fault.first} to {fault.last}",
                fault.detail,
            ],
            style="bad",
        )
        for fault in run.summary.audit.faults
    ]
    return PageTable(head=["", "room", "bot", "seq", ""], rows=rows, kind="words")


def steps(run: FinishedRun) -> PageTable | None:
    """Return the steps of the load shape; None if it had none."""
    if not run.summary.steps:
        return None
    rows = [
        TableRow(cells=_step_cells(step, run), style="bad" if step.held is False else "")
        for step in run.summary.steps
    ]
    head = [
        "",
        "from",
        "to",
        "bots",
        "sent /s",
        "delivered /s",
        "delivery p50",
        "p99",
        "p99.9",
        "SLO",
        "generator",
    ]
    return PageTable(head=head, rows=rows)


def _step_cells(step: Step, run: FinishedRun) -> list[str]:
    delivery = step.figures.metrics.get("delivery") or Quantiles()
    latency = [
        microseconds(value) if delivery.count else DASH
        for value in (delivery.p50, delivery.p99, delivery.p999)
    ]
    held = {True: "✓ held", False: "✗ broke", None: DASH}[step.held]
    if step.held is False and step.objective is not None:
        broken = [one for one in step.objective.terms if not one.passed]
        held += "".join(
            f", {verdict.format_condition(one.text)}: {verdict.term_value(one)}" for one in broken[:2]
        )
    rates = step.figures.rates
    return [
        step.label,
        f"{step.start} s",
        f"{step.end} s",
        count(step.bots),
        count(rates.get("sent")),
        count(rates.get("delivered")),
        *latency,
        held,
        _generator_cell(step, run),
    ]


def _generator_cell(step: Step, run: FinishedRun) -> str:
    if not step.generator_bound:
        return "kept up"
    rows = [row for row in run.rows if step.start <= row.t < step.end]
    return verdict.why_marked(rows) or "was the bottleneck"


def pairs(values: Iterable[tuple[str, str]], head: tuple[str, str]) -> PageTable:
    """Return a table of (name, text) pairs."""
    return PageTable(
        head=list(head), rows=[TableRow(cells=[name, text]) for name, text in values], kind="words"
    )


def errors(found: dict[str, int]) -> PageTable:
    """Return errors, the most frequent first."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return PageTable(
        head=["", "times"], rows=[TableRow(cells=[name, count(number)]) for name, number in ordered]
    )


def facts(values: dict[str, Any], text: Any) -> PageTable:
    """Return the table of a mapping; `text` formats the values."""
    return pairs(((name.replace("_", " "), text(value)) for name, value in values.items()), ("", ""))
