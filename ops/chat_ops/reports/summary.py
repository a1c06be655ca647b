"""The report `summary`: a screenful that says how the server has been.

Knows which figures belong on it. Must not know how they are shown. Sessions, messages and bytes are taken
from the interval lines, which are whole even where the log dropped lines; where there are none (a filter by
user, a log of warnings only), from the lines of the sessions.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

import argparse
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.queries import peak_sessions, trouble
from chat_ops.reports import timeline
from chat_ops.stats.histogram import Histogram
from chat_ops.table import Column, Row, Table
from chat_server.vocabulary import HISTOGRAMS

HELP: Final = "who was on, how busy, how fast, what went wrong: one screenful"

_NAMES: Final = {
    "accept_to_commit": "accept to commit",
    "commit_to_sent": "commit to sent",
    "rtt": "round trip",
}
_NEEDS: Final = (
    *timeline.NEEDS,
    *trouble.NEEDS,
    *("bytes_in", "rss_bytes", "queue_bytes", "lagging", "store_bytes", "wal_bytes", "free_bytes"),
)
_STEPS: Final = 40
_MOST_TROUBLES: Final = 12


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is nothing to choose."""


def run(log: Log, _args: argparse.Namespace) -> list[Table]:
    """Return the tables of the summary."""
    few = log.few(*_NEEDS)
    every = log.rows(
        "SELECT count(*), min(ts), max(ts), list_sort(list(DISTINCT node)),"
        " count(DISTINCT nfc_normalize(lower(username))), count(*) FILTER (event = 'session_opened'),"
        " count(*) FILTER (event = 'session_opened' AND resumed), count(*) FILTER (event = 'session_closed'),"
        " count(*) FILTER (event = 'message'), sum(messages_out)::BIGINT,"
        " sum(bytes_in) FILTER (event = 'session_closed')::BIGINT,"
        " sum(bytes_out) FILTER (event = 'session_closed')::BIGINT,"
        " histogram(reason) FILTER (event = 'session_closed') FROM lines"
    )[0]
    log.learn(*every[:3])
    width = time_buckets.width_for(log, None, _STEPS)
    measured = timeline.latencies(log, width)
    troubles = trouble.table(log, width)
    shown = troubles.rows[:_MOST_TROUBLES]
    note = (
        [f"{len(troubles.rows) - len(shown)} more: chat-logs errors"]
        if len(shown) < len(troubles.rows)
        else []
    )
    return [
        _period(log, few, every),
        _activity(log, few, every),
        timeline.shape(timeline.steps(log, width, measured), f"Over time, every {time_buckets.named(width)}"),
        _latency(measured),
        _endings(every[12]),
        Table(troubles.name, troubles.title, troubles.columns, shown, note),
        _machine(log, few),
    ]


def _period(log: Log, few: str, every: Row) -> Table:
    lines, first, last, nodes = every[:4]
    nodes = [node for node in nodes or () if node is not None]
    counts = log.rows(
        "SELECT count(*) FILTER (event = 'server_started'), count(*) FILTER (event = 'server_stopped'),"
        f" coalesce(sum(count) FILTER (event = 'log_lines_dropped'), 0)::BIGINT FROM {few}"
    )[0]
    named = ", ".join(nodes) if len(nodes) <= 5 else f"{len(nodes)} nodes"
    lasting = (last - first) / timedelta(seconds=1) if first else None
    columns = (
        Column("first", "from (UTC)", "time"),
        Column("last", "to (UTC)", "time"),
        Column("lasting_s", "lasting", "seconds"),
        Column("nodes", "nodes", "text"),
        Column("files", "files", "count"),
        Column("lines", "lines", "count", "Lines that were asked for (--since, --room …) and are log lines"),
        Column("bad_lines", "bad lines", "count", "Lines of the files that are no log lines"),
        Column("dropped_lines", "dropped lines", "count", "Lines that the server could not write"),
        Column("starts", "starts", "count"),
        Column("stops", "orderly stops", "count"),
    )
    row = (first, last, lasting, named, len(log.sources), lines, log.bad, counts[2], *counts[:2])
    return Table("period", "Period", columns, [row] if lines or log.bad else [], upright=True)


def _activity(log: Log, few: str, every: Row) -> Table:
    users, opened, resumed, closed, messages, deliveries, bytes_in, bytes_out = every[4:12]
    intervals, *sums = log.rows(
        f"SELECT count(*), sum(opened)::BIGINT, sum({timeline.IN_ALL.format('closed')})::BIGINT,"
        f" sum({timeline.IN_ALL.format('refused')})::BIGINT, sum(messages)::BIGINT,"
        " sum(deliveries)::BIGINT, sum(bytes_in)::BIGINT, sum(bytes_out)::BIGINT"
        f" FROM {few} WHERE event = 'interval'"
    )[0]
    refused = None
    if intervals:
        opened, closed, refused, messages, deliveries, bytes_in, bytes_out = sums
    most, most_at = peak_sessions.most(log, few, intervals=bool(intervals))
    span = (every[2] - every[1]) / timedelta(seconds=1) if every[1] else 0
    if intervals:  # the first of them begins before its line
        span = log.rows(
            "SELECT max(covered) FROM (SELECT sum(interval_s::DECIMAL(28, 6))::DOUBLE AS covered"
            f" FROM {few} WHERE event = 'interval' GROUP BY node)"
        )[0][0]
    columns = (
        Column("users", "users", "count", "Different usernames"),
        Column("peak_sessions", "most at once", "count", "Most sessions at a time, of all nodes together"),
        Column("peak_at", "at (UTC)", "time"),
        Column("opened", "sessions opened", "count"),
        Column("resumed", "of them resumed", "count"),
        Column("closed", "closed", "count"),
        Column("refused", "refused", "count", "Connections refused before they became sessions"),
        Column("messages", "messages", "count"),
        Column("messages_per_s", "a second", "rate"),
        Column("deliveries", "deliveries", "count"),
        Column("bytes_in", "received", "bytes"),
        Column("bytes_out", "sent", "bytes"),
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
    return Table("activity", "Activity", columns, [row] if every[0] else [], upright=True)


def _latency(measured: timeline.Latencies) -> Table:
    found = {
        name: Histogram.total(one for (_, figure), one in measured.items() if figure == name)
        for name in HISTOGRAMS
        if any(figure == name for _, figure in measured)
    }
    broken = sum(histogram.broken for histogram in found.values())
    return Table(
        "latency",
        "Latency",
        (
            Column("figure", "figure", "text"),
            Column("count", "measured", "count"),
            Column("p50_us", "p50", "us"),
            Column("p90_us", "p90", "us"),
            Column("p99_us", "p99", "us"),
            Column("p999_us", "p99.9", "us"),
            Column("max_us", "max", "us"),
        ),
        [
            (_NAMES[name], one.count, *(one.percentile(p) for p in (50, 90, 99, 99.9)), one.max)
            for name in HISTOGRAMS
            if (one := found.get(name))
        ],
        [f"{broken} histograms could not be read"] if broken else [],
    )


def _endings(reasons: Mapping[str, int] | None) -> Table:
    counts = sorted((reasons or {}).items(), key=lambda one: (-one[1], one[0]))
    whole = sum(count for _, count in counts)
    columns = (
        Column("reason", "sessions ended by", "text"),
        Column("sessions", "sessions", "count"),
        Column("share", "share", "percent"),
    )
    return Table("endings", "Endings", columns, [(word, n, 100 * n / whole) for word, n in counts])


def _machine(log: Log, few: str) -> Table:
    row = log.rows(
        "SELECT max(loop_lag_max_ms),"
        " arg_max(ts, (loop_lag_max_ms, -epoch_us(ts))) FILTER (loop_lag_max_ms IS NOT NULL),"
        " max(rss_bytes), max(queue_bytes),"
        " max(lagging), arg_max(store_bytes, (ts, store_bytes)), max(wal_bytes), min(free_bytes)"
        f" FROM {few} WHERE event = 'interval'"
    )[0]
    columns = (
        Column("loop_lag_max_ms", "longest loop lag", "ms"),
        Column("loop_lag_at", "at (UTC)", "time"),
        Column("rss_max_bytes", "most memory", "bytes", "Of one node"),
        Column("queue_max_bytes", "longest queue", "bytes", "Messages accepted and not yet committed"),
        Column("lagging_max", "most slow readers", "count"),
        Column("store_bytes", "store", "bytes", "At the end"),
        Column("wal_max_bytes", "largest WAL", "bytes"),
        Column("free_min_bytes", "least disk free", "bytes"),
    )
    some = any(value is not None for value in row)
    return Table("machine", "Machine", columns, [row] if some else [], upright=True)
