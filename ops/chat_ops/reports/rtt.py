"""The report `rtt`: round trips measured by ping, and whose were the longest.

Knows what the server and the kernel measure. Must not know how histograms are added up.
"""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.stats import percentiles
from chat_ops.table import Column, Table

HELP: Final = "round trips by ping, and the sessions with the longest, against the kernel's own measure"

_ORDERS: Final = {"p99": "rtt_p99_ms", "tcp": "tcp_rtt_ms", "queueing": "queueing_ms"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how finely, and which sessions."""
    parser.add_argument(
        "--every", metavar="STEP", help="how wide a step is: 10s, 5m, 1h (chosen by the span)"
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="sessions shown (20)")
    parser.add_argument(
        "--worst", choices=tuple(_ORDERS), default="p99", help="what makes them the worst (p99)"
    )


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the round trips of all, by time, and the worst sessions."""
    width = time_buckets.width_for(log, args.every, wanted=24)
    of = percentiles.steps(log, "rtt", width, log.few("interval_s", "rtt"))
    return [
        percentiles.whole({"rtt": of}, width),
        percentiles.by_step("rtt", f"Round trips measured by ping, every {time_buckets.named(width)}", of),
        _sessions(log, _ORDERS[args.worst], args.top),
    ]


def _sessions(log: Log, order: str, top: int) -> Table:
    rows = log.rows(
        "SELECT username, session_id, address, ts, duration_s, rtt_samples, rtt_min_ms, rtt_p50_ms,"  # noqa: S608  a name from our list
        " rtt_p99_ms, tcp_rtt_ms, rtt_p50_ms - tcp_rtt_ms AS queueing_ms FROM lines"
        f" WHERE event = 'session_closed' AND {order} IS NOT NULL"
        f" ORDER BY {order} DESC, ts, session_id, username, address, duration_s, rtt_p99_ms, tcp_rtt_ms"
        " LIMIT ?",
        max(top, 0),
    )
    return Table(
        "sessions",
        "Sessions with the longest round trips",
        (
            Column("username", "user", "text"),
            Column("session_id", "session", "text", aside=2),
            Column("address", "address", "text"),
            Column("ended", "ended", "time", aside=1),
            Column("duration_s", "lasted", "seconds", aside=2),
            Column("rtt_samples", "samples", "count", "Round trips measured by ping", aside=2),
            Column("rtt_min_ms", "min", "ms", aside=2),
            Column("rtt_p50_ms", "p50", "ms", "Of the last 64"),
            Column("rtt_p99_ms", "p99", "ms", "Of the last 64"),
            Column("tcp_rtt_ms", "kernel", "ms", "The kernel's smoothed round trip (TCP_INFO)"),
            Column("queueing_ms", "queueing", "ms", "p50 less the kernel's: time spent in the two programs"),
        ),
        rows,
        ["sessions are known when they end: those still open are not here"] if rows else [],
    )
