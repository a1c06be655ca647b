"""The report `rtt`: round trips measured by ping over time, and the sessions with the longest."""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.reports import row_limit
from chat_ops.stats import percentiles
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "round trips by ping, and the sessions with the longest, against the kernel's own measure"

_QUEUEING: Final = "CASE WHEN rtt_p50_ms >= tcp_rtt_ms THEN rtt_p50_ms - tcp_rtt_ms END"
_NO_QUEUEING: Final = (
    "queueing is empty where the kernel's round trip is the longer one: it is smoothed, and of other packets"
)
_ORDERS: Final = {"p99": "rtt_p99_ms", "tcp": "tcp_rtt_ms", "queueing": "queueing_ms"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step width, and the choice of sessions."""
    parser.add_argument("--every", metavar="STEP", help="width of a step: 10s, 5m, 1h (chosen by the period)")
    row_limit.add_top_option(parser, 20, "sessions shown")
    parser.add_argument("--worst", choices=tuple(_ORDERS), default="p99", help="order of the sessions (p99)")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return all round trips, those by step, and the worst sessions."""
    width = time_buckets.choose_width(log, args.every, max_steps=24)
    of = percentiles.histograms_by_step(log, "rtt", width, log.rare_events("interval_s", "rtt"))
    return [
        percentiles.total_table({"rtt": of}, width),
        percentiles.step_table(
            "rtt", f"Round trips measured by ping, every {time_buckets.format_width(width)}", of
        ),
        _sessions(log, _ORDERS[args.worst], args.top),
    ]


def _sessions(log: EventLog, order: str, top: int) -> ReportTable:
    rows = log.rows(
        "SELECT username, session_id, address, ts, duration_s, rtt_samples, rtt_min_ms, rtt_p50_ms,"  # noqa: S608  a name from our list
        f" rtt_p99_ms, tcp_rtt_ms, {_QUEUEING} AS queueing_ms FROM lines"
        f" WHERE event = 'session_closed' AND {order} IS NOT NULL"
        f" ORDER BY {order} DESC, ts, session_id, username, address, duration_s, rtt_p99_ms, tcp_rtt_ms"
        " LIMIT ?",
        top,
    )
    notes = ["sessions are logged when they end: open ones are not included"] if rows else []
    if any(p50 is not None and kernel is not None and p50 < kernel for *_, p50, _, kernel, _ in rows):
        notes.append(_NO_QUEUEING)
    return ReportTable(
        "sessions",
        "Sessions with the longest round trips",
        (
            ReportColumn("username", "user", "text"),
            ReportColumn("session_id", "session", "text", drop_order=2),
            ReportColumn("address", "address", "text"),
            ReportColumn("ended", "ended", "time", drop_order=1),
            ReportColumn("duration_s", "lasted", "seconds", drop_order=2),
            ReportColumn("rtt_samples", "samples", "count", "Round trips measured by ping", drop_order=2),
            ReportColumn("rtt_min_ms", "min", "ms", drop_order=2),
            ReportColumn("rtt_p50_ms", "p50", "ms", "Of the last 64"),
            ReportColumn("rtt_p99_ms", "p99", "ms", "Of the last 64"),
            ReportColumn("tcp_rtt_ms", "kernel", "ms", "The kernel's smoothed round trip (TCP_INFO)"),
            ReportColumn("queueing_ms", "queueing", "ms", "p50 minus the kernel's: time in the two programs"),
        ),
        rows,
        notes,
    )
