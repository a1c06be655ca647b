"""The percentiles that reports show of histograms, in all and step by step.

Knows histograms, steps and columns. Must not know which figures there are. Percentiles come from merged
counts, never from other percentiles.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.stats.histogram import Histogram
from chat_ops.table import Column, Row, Table

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
"""Names for programs, and what they are."""

COLUMNS: Final = (
    Column("count", "count", "count", "Durations measured"),
    *(
        Column(f"{name}_us", name.replace("999", "99.9"), "us", f"{of:g} % took no longer")
        for name, of in PERCENTILES.items()
    ),
)
SPARK: Final = Column("p99_over_time", "p99 over time", "spark", "The p99 of each step, in µs")

Steps = Mapping[datetime, Histogram]
"""By the first moment of the step, in order."""


def cells(histogram: Histogram) -> Row:
    """Return the values of `COLUMNS`."""
    return (histogram.count, *(histogram.percentile(of) for of in PERCENTILES.values()))


def steps(log: Log, figure: str, width: int, source: str) -> Steps:
    """Return a histogram of the figure (a column of the table `source`) for each step that has any."""
    return Histogram.merge_groups(
        log.rows(
            f"SELECT {time_buckets.bucket(width)} AS step, {figure} FROM {source}"  # noqa: S608  names of our own
            f" WHERE {figure} IS NOT NULL ORDER BY step"
        )
    )


def over_time(of: Steps, width: int) -> list[float | None]:
    """Return the p99 of each step from the first to the last; None where nothing was measured."""
    measured = {step: histogram.percentile(99) for step, histogram in of.items() if histogram.count}
    if not measured:
        return []
    first, step = min(measured), timedelta(seconds=width)
    number = (max(measured) - first) // step + 1
    if number > time_buckets.MOST:  # a stray line years away
        return list(measured.values())
    return [measured.get(first + n * step) for n in range(number)]


def whole(figures: Mapping[str, Steps], width: int) -> Table:
    """Return a row for each figure over all the time."""
    totals = {name: Histogram.total(of.values()) for name, of in figures.items()}
    return Table(
        "total",
        "In all",
        (Column("figure", "figure", "text"), *COLUMNS, SPARK),
        [
            (name, *cells(total), over_time(figures[name], width))
            for name, total in totals.items()
            if total.count
        ],
        unread(totals.values()),
    )


def by_step(name: str, title: str, of: Steps) -> Table:
    """Return a row for each step."""
    return Table(
        name,
        title,
        (Column("step", "from (UTC)", "time", "First moment of the step"), *COLUMNS),
        [(begin, *cells(histogram)) for begin, histogram in of.items() if histogram.count],
    )


def unread(histograms: Iterable[Histogram]) -> list[str]:
    """Return a note about payloads that were no histograms, if there were any."""
    broken = sum(histogram.broken for histogram in histograms)
    return [f"{broken} histograms could not be read and are left out"] if broken else []
