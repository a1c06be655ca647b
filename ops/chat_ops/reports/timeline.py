"""The report `timeline`: load and latency by time step.

Without interval lines (a filter by user, a log of warnings only), session and message lines are counted.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable, Row
from chat_server.vocabulary import HISTOGRAMS

Latencies = Mapping[tuple[datetime, str], SparseHistogram]
"""By start of the step and name of the latency."""

HELP: Final = "load and latency by time step (--every 1m)"

COLUMNS: Final = (
    ReportColumn("time", "from (UTC)", "time", "Start of the step"),
    ReportColumn(
        "sessions", "sessions", "count", "Most sessions open at the end of an interval, all nodes together"
    ),
    ReportColumn("opened", "opened", "count", drop_order=1),
    ReportColumn("closed", "closed", "count", drop_order=2),
    ReportColumn("messages", "messages", "count", drop_order=2),
    ReportColumn("messages_per_s", "msg/s", "rate"),
    ReportColumn("deliveries", "deliveries", "count", drop_order=2),
    ReportColumn("bytes_out", "sent", "bytes", drop_order=1),
    ReportColumn("errors", "errors", "count", "Errors answered to peers", drop_order=1),
    ReportColumn("accept_to_commit_p99_us", "commit p99", "us", "From acceptance to commit"),
    ReportColumn(
        "commit_to_sent_p50_us", "sent p50", "us", "From commit to the last member's send", drop_order=2
    ),
    ReportColumn("commit_to_sent_p99_us", "sent p99", "us"),
    ReportColumn("rtt_p99_us", "rtt p99", "us", drop_order=1),
    ReportColumn("loop_lag_max_ms", "lag max", "ms", "Longest delay of the event loop"),
)
MAP_SUM_SQL: Final = "CASE WHEN {0} IS NOT NULL THEN coalesce(list_sum(map_values({0})), 0) END"
"""SQL for the sum of a map's counts; 0 for an empty map, NULL if there is none (e.g. for one room)."""
TIMELINE_FIELDS: Final = (
    *("interval_s", "sessions", "opened", "closed", "messages", "deliveries", "bytes_out", "errors"),
    *("loop_lag_max_ms", *HISTOGRAMS),
)
"""Columns that it reads of the rare events."""
_SPARKLINES: Final = (
    ("sessions", "sessions", 1.0),
    ("messages_per_s", "messages a second", 1.0),
    ("bytes_out", "MiB sent", 1 / (1 << 20)),
    ("errors", "errors", 1.0),
    ("commit_to_sent_p99_us", "commit to sent, p99 (ms)", 1 / 1000),
    ("rtt_p99_us", "round trip, p99 (ms)", 1 / 1000),
)
"""Columns shown as sparklines: name, title, factor to the title's unit."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step width."""
    parser.add_argument(
        "--every", metavar="STEP", help="width of a step: 10s, 5m, 1h, 1d (chosen by the period)"
    )


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the sparklines and the steps."""
    width = time_buckets.choose_width(log, args.every)
    rows = step_rows(log, width, latencies_by_step(log, width))
    title = f"Every {time_buckets.format_width(width)}"
    return [
        sparkline_table(rows, title=f"{title}, at a glance"),
        ReportTable("timeline", title, COLUMNS, rows),
    ]


def sparkline_table(rows: Sequence[Row], title: str) -> ReportTable:
    """Return a table with a sparkline for each metric of `step_rows`."""
    names = [column.name for column in COLUMNS]
    shown = []
    for name, figure, unit in _SPARKLINES:
        place = names.index(name)
        values = [None if row[place] is None else round(row[place] * unit, 3) for row in rows]
        known = [value for value in values if value is not None]
        if any(known):
            mean = None if name.endswith("_us") else round(sum(known) / len(known), 3)
            shown.append((figure, mean, max(known), values))
    return ReportTable(
        "shape",
        title,
        (
            ReportColumn("figure", "figure", "text"),
            ReportColumn("mean", "mean", "rate", "Of the steps; percentiles have no mean"),
            ReportColumn("most", "most", "rate"),
            ReportColumn("over_time", "over time", "spark"),
        ),
        shown,
    )


def step_rows(log: EventLog, width: int, measured: Latencies) -> list[Row]:
    """Return a row of `COLUMNS` for each step from the first to the last that has lines."""
    rare = log.rare_events(*TIMELINE_FIELDS)
    step = time_buckets.bucket_sql(width)
    intervals = log.rows(
        f"SELECT step, sum(most)::BIGINT, sum(opened)::BIGINT, sum(closed)::BIGINT, sum(messages)::BIGINT,"
        " sum(deliveries)::BIGINT, sum(bytes_out)::BIGINT, sum(errors)::BIGINT, max(lag) FROM ("
        f" SELECT {step} AS step, max(sessions) AS most, sum(opened) AS opened, sum(messages) AS messages,"
        f" sum({MAP_SUM_SQL.format('closed')}) AS closed, sum(deliveries) AS deliveries,"
        f" sum(bytes_out) AS bytes_out, sum({MAP_SUM_SQL.format('errors')}) AS errors,"
        f" max(loop_lag_max_ms) AS lag FROM {rare} WHERE event = 'interval' GROUP BY 1, node)"
        " GROUP BY 1 ORDER BY 1"
    )
    if not intervals:
        intervals = log.rows(
            f"SELECT {step} AS step, NULL, count(*) FILTER (event = 'session_opened'),"
            " count(*) FILTER (event = 'session_closed'), count(*) FILTER (event = 'message'),"
            " NULL, sum(bytes_out)::BIGINT, NULL, NULL FROM lines GROUP BY 1 ORDER BY 1"
        )
    if not intervals:
        return []
    found = {row[0]: row[1:] for row in intervals}
    return [_row(start, width, found.get(start), measured) for start in step_starts(list(found), width)]


def step_starts(found: Sequence[datetime], width: int) -> list[datetime]:
    """Return the starts of all steps from first to last; only those with data if there would be too many."""
    step = timedelta(seconds=width)
    number = (found[-1] - found[0]) // step + 1
    if number > time_buckets.MAX_STEPS:
        return list(found)
    return [found[0] + n * step for n in range(number)]


def latencies_by_step(log: EventLog, width: int) -> Latencies:
    """Return the merged histograms by step and latency."""
    rare, step = log.rare_events(*TIMELINE_FIELDS), time_buckets.bucket_sql(width)
    union = " UNION ALL ".join(
        f"SELECT {step}, '{name}', {name} FROM {rare} WHERE {name} IS NOT NULL" for name in HISTOGRAMS
    )
    return SparseHistogram.merge_groups(((start, name), payload) for start, name, payload in log.rows(union))


def _row(start: datetime, width: int, figures: Row | None, measured: Latencies) -> Row:
    sessions, opened, closed, messages, deliveries, sent, errors, lag = figures or (None,) * 8

    def percentile(name: str, percent: float) -> Any:
        found = measured.get((start, name))
        return found and found.percentile(percent)

    return (
        start,
        sessions,
        opened,
        closed,
        messages,
        None if messages is None else messages / width,
        deliveries,
        sent,
        errors,
        percentile("accept_to_commit", 99),
        percentile("commit_to_sent", 50),
        percentile("commit_to_sent", 99),
        percentile("rtt", 99),
        lag,
    )
