"""The report `users`: who was on, how often, how long, and how much they said and got.

Knows the lines of sessions. Must not know how it is shown. Names that differ in case only are one user's, as
they are for the server; the name is shown as it was last.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.reports.row_limit import add_limit_option
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "who was on: sessions, time, messages and bytes of each user"

_ORDERS: Final = {
    "time": "duration_s DESC NULLS LAST",
    "sessions": "sessions DESC",
    "messages": "messages_in DESC NULLS LAST",
    "received": "bytes_out DESC NULLS LAST",
    "last": "last DESC",
    "name": "lower(shown)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the order, and how many are shown."""
    parser.add_argument(
        "--by", choices=_ORDERS, default="messages", help="what they are sorted by (messages)"
    )
    add_limit_option(parser, "users")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return a row for each user."""
    rows = log.rows(
        "SELECT arg_max(username, (ts, username)) AS shown,"
        " count(*) FILTER (event = 'session_opened') AS sessions,"
        " count(*) FILTER (event = 'session_opened' AND resumed) AS resumed,"
        " sum(duration_s::DECIMAL(28, 6)) FILTER (event = 'session_closed')::DOUBLE AS duration_s,"
        " sum(messages_in)::BIGINT AS messages_in, sum(messages_out)::BIGINT AS messages_out,"
        " sum(bytes_in) FILTER (event = 'session_closed')::BIGINT AS bytes_in,"
        " sum(bytes_out) FILTER (event = 'session_closed')::BIGINT AS bytes_out,"
        " count(*) FILTER (event = 'reader_lagging') AS lagged,"
        " count(DISTINCT regexp_replace(address, ':\\d+$', '')) AS addresses,"
        " min(ts) AS first, max(ts) AS last, count(*) OVER ()"
        " FROM lines WHERE username IS NOT NULL GROUP BY nfc_normalize(lower(username))"
        f" ORDER BY {_ORDERS[args.by]}, shown LIMIT {args.limit}"
    )
    more = rows[0][-1] - len(rows) if rows else 0
    columns = (
        ReportColumn("username", "user", "text"),
        ReportColumn("sessions", "sessions", "count", "Opened in this time"),
        ReportColumn("resumed", "resumed", "count", "Of them, those that came back", drop_order=2),
        ReportColumn("duration_s", "time on", "seconds", "Of the sessions that ended in this time"),
        ReportColumn("messages_in", "said", "count"),
        ReportColumn("messages_out", "got", "count"),
        ReportColumn("bytes_in", "received", "bytes", "By the server", drop_order=2),
        ReportColumn("bytes_out", "sent", "bytes", "To the user"),
        ReportColumn(
            "lagged", "lagged", "count", "How often a session was too slow for what it was sent", drop_order=1
        ),
        ReportColumn("addresses", "hosts", "count", "Different addresses, without their ports", drop_order=2),
        ReportColumn("first", "first (UTC)", "time", drop_order=1),
        ReportColumn("last", "last (UTC)", "time"),
    )
    notes = [f"{len(rows)} of {len(rows) + more:,} users; --limit shows more."] if more else []
    return [ReportTable("users", "Users", columns, [row[:-1] for row in rows], notes)]
