"""Percentile tables of histograms, in total and by time step.

Percentiles come from merged counts, never from other percentiles.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable, Row

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
"""Column names and percents."""

PERCENTILE_COLUMNS: Final = (
    ReportColumn("count", "count", "count", "Durations measured"),
    *(
        ReportColumn(f"{name}_us", name.replace("999", "99.9"), "us", f"{of:g} % took no longer")
        for name, of in PERCENTILES.items()
    ),
)
P99_SPARKLINE: Final = ReportColumn("p99_over_time", "p99 over time", "spark", "The p99 of each step, in µs")

HistogramByStep = Mapping[datetime, SparseHistogram]
"""By start of the step, in order."""


def percentile_cells(histogram: SparseHistogram) -> Row:
    """Return the values of `PERCENTILE_COLUMNS`."""
    return (histogram.count, *(histogram.percentile(of) for of in PERCENTILES.values()))


def histograms_by_step(log: EventLog, metric: str, width: int, source: str) -> HistogramByStep:
    """Return a histogram of `metric` (a column of the table `source`) for each step that has one."""
    return SparseHistogram.merge_groups(
        log.rows(
            f"SELECT {time_buckets.bucket_sql(width)} AS step, {metric} FROM {source}"  # noqa: S608  our own names
            f" WHERE {metric} IS NOT NULL ORDER BY step"
        )
    )


def p99_over_time(histograms: HistogramByStep, width: int) -> list[float | None]:
    """Return the p99 of each step from the first to the last; None where nothing was measured."""
    measured = {step: histogram.percentile(99) for step, histogram in histograms.items() if histogram.count}
    if not measured:
        return []
    first, step = min(measured), timedelta(seconds=width)
    number = (max(measured) - first) // step + 1
    if number > time_buckets.MAX_STEPS:  # a stray line years away
        return list(measured.values())
    return [measured.get(first + n * step) for n in range(number)]


def total_table(figures: Mapping[str, HistogramByStep], width: int) -> ReportTable:
    """Return a row with the total of each metric."""
    totals = {name: SparseHistogram.total(of.values()) for name, of in figures.items()}
    return ReportTable(
        "total",
        "In all",
        (ReportColumn("figure", "figure", "text"), *PERCENTILE_COLUMNS, P99_SPARKLINE),
        [
            (name, *percentile_cells(total), p99_over_time(figures[name], width))
            for name, total in totals.items()
            if total.count
        ],
        unreadable_note(totals.values()),
    )


def step_table(name: str, title: str, histograms: HistogramByStep) -> ReportTable:
    """Return a row for each step."""
    return ReportTable(
        name,
        title,
        (ReportColumn("step", "from (UTC)", "time", "Start of the step"), *PERCENTILE_COLUMNS),
        [(begin, *percentile_cells(histogram)) for begin, histogram in histograms.items() if histogram.count],
    )


def unreadable_note(histograms: Iterable[SparseHistogram]) -> list[str]:
    """Return a note on unreadable histograms, if there are any."""
    broken = sum(histogram.broken for histogram in histograms)
    return [f"{broken} histograms could not be read and are left out"] if broken else []
