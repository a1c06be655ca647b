"""The report `users`: sessions, time, messages and bytes of each user.

Names that differ only in case are one user, as for the server; the last spelling is shown.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.reports.row_limit import add_limit_option
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "sessions, time, messages and bytes of each user"

_ORDERS: Final = {
    "time": "duration_s DESC NULLS LAST",
    "sessions": "sessions DESC",
    "messages": "messages_in DESC NULLS LAST",
    "received": "bytes_out DESC NULLS LAST",
    "last": "last DESC",
    "name": "lower(shown)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the order, and the number of users."""
    parser.add_argument("--by", choices=_ORDERS, default="messages", help="sort order (messages)")
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
        ReportColumn("sessions", "sessions", "count", "Opened in this period"),
        ReportColumn("resumed", "resumed", "count", "Of these, the resumed ones", drop_order=2),
        ReportColumn("duration_s", "time on", "seconds", "Of the sessions that ended in this period"),
        ReportColumn("messages_in", "said", "count"),
        ReportColumn("messages_out", "got", "count"),
        ReportColumn("bytes_in", "received", "bytes", "By the server", drop_order=2),
        ReportColumn("bytes_out", "sent", "bytes", "To the user"),
        ReportColumn("lagged", "lagged", "count", "How often a session could not keep up", drop_order=1),
        ReportColumn("addresses", "hosts", "count", "Different addresses, ignoring ports", drop_order=2),
        ReportColumn("first", "first (UTC)", "time", drop_order=1),
        ReportColumn("last", "last (UTC)", "time"),
    )
    notes = [f"{len(rows)} of {len(rows) + more:,} users; --limit shows more."] if more else []
    return [ReportTable("users", "Users", columns, [row[:-1] for row in rows], notes)]
