"""The report `sessions`: who came from where, how long, how much, and why it ended.

Knows the lines of sessions. Must not know how it is shown.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log import Log
from chat_ops.reports.limits import add_limit
from chat_ops.table import Column, Table

HELP: Final = "who came from where, how long and how much, and why it ended"

_ORDERS: Final = {
    "last": "coalesce(ended, began) DESC",
    "first": "began",
    "time": "duration_s DESC NULLS LAST",
    "messages": "messages_in DESC NULLS LAST",
    "sent": "bytes_out DESC NULLS LAST",
    "rtt": "rtt_p99_ms DESC NULLS LAST",
}
_SESSIONS: Final = """
SELECT arg_max(username, ts) AS username, arg_max(address, ts) AS address, arg_max(dialect, ts) AS dialect,
  any_value(node) AS node,
  coalesce(min(ts) FILTER (event = 'session_opened'),
    min(ts - to_milliseconds((duration_s * 1000)::BIGINT)) FILTER (event = 'session_closed')) AS began,
  max(ts) FILTER (event = 'session_closed') AS ended,
  sum(duration_s) FILTER (event = 'session_closed') AS duration_s,
  count(*) FILTER (event = 'session_opened' AND resumed) AS resumed,
  sum(messages_in)::BIGINT AS messages_in, sum(messages_out)::BIGINT AS messages_out,
  sum(bytes_in)::BIGINT AS bytes_in, sum(bytes_out)::BIGINT AS bytes_out,
  max(rtt_p50_ms) AS rtt_p50_ms, max(rtt_p99_ms) AS rtt_p99_ms,
  arg_max(reason, ts) FILTER (event = 'session_closed') AS reason, session_id
FROM lines WHERE event IN ('session_opened', 'session_closed') GROUP BY session_id
"""
_COLUMNS: Final = (
    Column("username", "user", "text"),
    Column("address", "from", "text"),
    Column("dialect", "dialect", "text", aside=True),
    Column("node", "node", "text", aside=True),
    Column("began", "began (UTC)", "time"),
    Column("ended", "ended (UTC)", "time", "Nothing: it was open, or its end is not in the log", aside=True),
    Column("duration_s", "lasted", "seconds"),
    Column("resumed", "resumed", "count", "How often it came back", aside=True),
    Column("messages_in", "said", "count"),
    Column("messages_out", "got", "count"),
    Column("bytes_in", "received", "bytes", aside=True),
    Column("bytes_out", "sent", "bytes"),
    Column("rtt_p50_ms", "rtt p50", "ms", aside=True),
    Column("rtt_p99_ms", "rtt p99", "ms"),
    Column("reason", "ended by", "text"),
    Column("session_id", "session", "text", aside=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the order, what is left out, and how many are shown."""
    parser.add_argument("--by", choices=_ORDERS, default="last", help="what they are sorted by (last)")
    parser.add_argument("--reason", metavar="WORD", help="only those that ended for this reason")
    parser.add_argument("--open", action="store_true", help="only those whose end is not in the log")
    add_limit(parser, "sessions")


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return how sessions ended, by dialect and reason, and the sessions."""
    wanted = "(? IS NULL OR reason = ?) AND (NOT ? OR ended IS NULL)"
    listed = log.rows(
        f"SELECT *, count(*) OVER () FROM ({_SESSIONS}) WHERE {wanted}"
        f" ORDER BY {_ORDERS[args.by]}, session_id LIMIT {args.limit}",
        args.reason,
        args.reason,
        args.open,
    )
    more = listed[0][-1] - len(listed) if listed else 0
    notes = [f"{len(listed)} of {len(listed) + more:,} sessions; --limit shows more."] if more else []
    endings = log.rows(
        "SELECT dialect, reason, count(*) AS n, 100.0 * count(*) / sum(count(*)) OVER (),"
        " quantile_cont(duration_s, [0.5, 0.9]) AS q, max(duration_s)"
        " FROM lines WHERE event = 'session_closed' AND (? IS NULL OR reason = ?)"
        " GROUP BY 1, 2 ORDER BY n DESC, 1, 2",
        args.reason,
        args.reason,
    )
    columns = (
        Column("dialect", "dialect", "text"),
        Column("reason", "ended by", "text"),
        Column("sessions", "sessions", "count"),
        Column("share", "share", "percent"),
        Column("p50_s", "median", "seconds"),
        Column("p90_s", "p90", "seconds"),
        Column("max_s", "longest", "seconds"),
    )
    rows = [(*row[:4], *(row[4] or (None, None)), row[5]) for row in endings]
    return [
        Table("endings", "How sessions ended", columns, [] if args.open else rows),
        Table("sessions", "Sessions", _COLUMNS, [row[:-1] for row in listed], notes),
    ]
