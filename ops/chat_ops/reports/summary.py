"""The report `summary`: one screen with users, load, latency and errors.

Sessions, messages and bytes come from the interval lines, which are complete even if the log dropped lines.
Without interval lines (a filter by user, a log of warnings only) they come from the session lines.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import argparse
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.queries import peak_sessions, trouble
from chat_ops.reports import timeline
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable, Row
from chat_server.vocabulary import HISTOGRAMS

HELP: Final = "users, load, latency and errors on one screen"

_LATENCY_NAMES: Final = {
    "accept_to_commit": "accept to commit",
    "commit_to_sent": "commit to sent",
    "rtt": "round trip",
}
_COLUMNS: Final = (
    *timeline.TIMELINE_FIELDS,
    *trouble.TROUBLE_FIELDS,
    *("bytes_in", "rss_bytes", "queue_bytes", "lagging", "store_bytes", "wal_bytes", "free_bytes"),
)
_SPARKLINE_STEPS: Final = 40
_MAX_TROUBLE_ROWS: Final = 12


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the summary has no options."""


def run(log: EventLog, _args: argparse.Namespace) -> list[ReportTable]:
    """Return the tables of the summary."""
    rare = log.rare_events(*_COLUMNS)
    every = log.rows(
        "SELECT count(*), min(ts), max(ts), list_sort(list(DISTINCT node)),"
        " count(DISTINCT nfc_normalize(lower(username))), count(*) FILTER (event = 'session_opened'),"
        " count(*) FILTER (event = 'session_opened' AND resumed), count(*) FILTER (event = 'session_closed'),"
        " count(*) FILTER (event = 'message'), sum(messages_out)::BIGINT,"
        " sum(bytes_in) FILTER (event = 'session_closed')::BIGINT,"
        " sum(bytes_out) FILTER (event = 'session_closed')::BIGINT,"
        " histogram(reason) FILTER (event = 'session_closed') FROM lines"
    )[0]
    log.set_extent(*every[:3])
    width = time_buckets.choose_width(log, None, _SPARKLINE_STEPS)
    measured = timeline.latencies_by_step(log, width)
    troubles = trouble.trouble_table(log, width)
    shown = troubles.rows[:_MAX_TROUBLE_ROWS]
    note = (
        [f"{len(troubles.rows) - len(shown)} more: chat-logs errors"]
        if len(shown) < len(troubles.rows)
        else []
    )
    return [
        _period(log, rare, every),
        _activity(log, rare, every),
        timeline.sparkline_table(
            timeline.step_rows(log, width, measured), f"Over time, every {time_buckets.format_width(width)}"
        ),
        _latency(measured),
        _endings(every[12]),
        ReportTable(troubles.name, troubles.title, troubles.columns, shown, note),
        _machine(log, rare),
    ]


def _period(log: EventLog, rare: str, every: Row) -> ReportTable:
    lines, first, last, nodes = every[:4]
    nodes = [node for node in nodes or () if node is not None]
    counts = log.rows(
        "SELECT count(*) FILTER (event = 'server_started'), count(*) FILTER (event = 'server_stopped'),"
        f" coalesce(sum(count) FILTER (event = 'log_lines_dropped'), 0)::BIGINT FROM {rare}"
    )[0]
    named = ", ".join(nodes) if len(nodes) <= 5 else f"{len(nodes)} nodes"
    lasting = (last - first) / timedelta(seconds=1) if first else None
    columns = (
        ReportColumn("first", "from (UTC)", "time"),
        ReportColumn("last", "to (UTC)", "time"),
        ReportColumn("lasting_s", "lasting", "seconds"),
        ReportColumn("nodes", "nodes", "text"),
        ReportColumn("files", "files", "count"),
        ReportColumn("lines", "lines", "count", "Log lines that match the filters (--since, --room …)"),
        ReportColumn("bad_lines", "bad lines", "count", "Lines of the files that are not log lines"),
        ReportColumn("dropped_lines", "dropped lines", "count", "Lines that the server could not write"),
        ReportColumn("starts", "starts", "count"),
        ReportColumn("stops", "orderly stops", "count"),
    )
    row = (first, last, lasting, named, len(log.input_files), lines, log.bad_lines, counts[2], *counts[:2])
    return ReportTable("period", "Period", columns, [row] if lines or log.bad_lines else [], vertical=True)


def _activity(log: EventLog, rare: str, every: Row) -> ReportTable:
    users, opened, resumed, closed, messages, deliveries, bytes_in, bytes_out = every[4:12]
    intervals, *sums = log.rows(
        f"SELECT count(*), sum(opened)::BIGINT, sum({timeline.MAP_SUM_SQL.format('closed')})::BIGINT,"
        f" sum({timeline.MAP_SUM_SQL.format('refused')})::BIGINT, sum(messages)::BIGINT,"
        " sum(deliveries)::BIGINT, sum(bytes_in)::BIGINT, sum(bytes_out)::BIGINT"
        f" FROM {rare} WHERE event = 'interval'"
    )[0]
    refused = None
    if intervals:
        opened, closed, refused, messages, deliveries, bytes_in, bytes_out = sums
    most, most_at = peak_sessions.find_peak(log, rare, intervals=bool(intervals))
    span = (every[2] - every[1]) / timedelta(seconds=1) if every[1] else 0
    if intervals:  # the first one begins before its line
        span = log.rows(
            "SELECT max(covered) FROM (SELECT sum(interval_s::DECIMAL(28, 6))::DOUBLE AS covered"
            f" FROM {rare} WHERE event = 'interval' GROUP BY node)"
        )[0][0]
    columns = (
        ReportColumn("users", "users", "count", "Different usernames"),
        ReportColumn("peak_sessions", "most at once", "count", "Most sessions at a time, all nodes together"),
        ReportColumn("peak_at", "at (UTC)", "time"),
        ReportColumn("opened", "sessions opened", "count"),
        ReportColumn("resumed", "of these resumed", "count"),
        ReportColumn("closed", "closed", "count"),
        ReportColumn("refused", "refused", "count", "Connections refused before they became sessions"),
        ReportColumn("messages", "messages", "count"),
        ReportColumn("messages_per_s", "a second", "rate"),
        ReportColumn("deliveries", "deliveries", "count"),
        ReportColumn("bytes_in", "received", "bytes"),
        ReportColumn("bytes_out", "sent", "bytes"),
    )
    rate = messages / span if messages is not None and span else None
    row = (
        users,
        most,
        most_at,
        opened,
        resumed,
        closed,
        refused,
        messages,
        rate,
        deliveries,
        bytes_in,
        bytes_out,
    )
    return ReportTable("activity", "Activity", columns, [row] if every[0] else [], vertical=True)


def _latency(measured: timeline.Latencies) -> ReportTable:
    found = {
        name: SparseHistogram.total(one for (_, figure), one in measured.items() if figure == name)
        for name in HISTOGRAMS
        if any(figure == name for _, figure in measured)
    }
    broken = sum(histogram.broken for histogram in found.values())
    return ReportTable(
        "latency",
        "Latency",
        (
            ReportColumn("figure", "figure", "text"),
            ReportColumn("count", "measured", "count"),
            ReportColumn("p50_us", "p50", "us"),
            ReportColumn("p90_us", "p90", "us"),
            ReportColumn("p99_us", "p99", "us"),
            ReportColumn("p999_us", "p99.9", "us"),
            ReportColumn("max_us", "max", "us"),
        ),
        [
            (_LATENCY_NAMES[name], one.count, *(one.percentile(p) for p in (50, 90, 99, 99.9)), one.max)
            for name in HISTOGRAMS
            if (one := found.get(name))
        ],
        [f"{broken} histograms could not be read"] if broken else [],
    )


def _endings(reasons: Mapping[str, int] | None) -> ReportTable:
    counts = sorted((reasons or {}).items(), key=lambda one: (-one[1], one[0]))
    whole = sum(count for _, count in counts)
    columns = (
        ReportColumn("reason", "sessions ended by", "text"),
        ReportColumn("sessions", "sessions", "count"),
        ReportColumn("share", "share", "percent"),
    )
    return ReportTable("endings", "Endings", columns, [(word, n, 100 * n / whole) for word, n in counts])


def _machine(log: EventLog, rare: str) -> ReportTable:
    row = log.rows(
        "SELECT max(loop_lag_max_ms),"
        " arg_max(ts, (loop_lag_max_ms, -epoch_us(ts))) FILTER (loop_lag_max_ms IS NOT NULL),"
        " max(rss_bytes), max(queue_bytes),"
        " max(lagging), arg_max(store_bytes, (ts, store_bytes)), max(wal_bytes), min(free_bytes)"
        f" FROM {rare} WHERE event = 'interval'"
    )[0]
    columns = (
        ReportColumn("loop_lag_max_ms", "longest loop lag", "ms"),
        ReportColumn("loop_lag_at", "at (UTC)", "time"),
        ReportColumn("rss_max_bytes", "most memory", "bytes", "Of one node"),
        ReportColumn("queue_max_bytes", "longest queue", "bytes", "Messages accepted and not yet committed"),
        ReportColumn("lagging_max", "most slow readers", "count"),
        ReportColumn("store_bytes", "store", "bytes", "At the end"),
        ReportColumn("wal_max_bytes", "largest WAL", "bytes"),
        ReportColumn("free_min_bytes", "least disk free", "bytes"),
    )
    some = any(value is not None for value in row)
    return ReportTable("machine", "Machine", columns, [row] if some else [], vertical=True)
