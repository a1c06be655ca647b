"""The report `errors`: kinds of errors with counts over time, and the last warnings."""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.queries import trouble
from chat_ops.reports.row_limit import add_limit_option
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "errors answered, connections refused, warnings and internal errors, with their messages"

_LINE_COLUMNS: Final = (
    "username",
    "address",
    "reason",
    "error_type",
    "error",
    "lag_ms",
    "count",
    "duration_s",
    "stack",
)
_WARNING_LINES: Final = (
    "SELECT ts, level, event, node, username, address, coalesce(reason, error_type), coalesce(error,"
    " CASE WHEN lag_ms IS NOT NULL THEN 'late by ' || round(lag_ms)::BIGINT || ' ms'"
    " WHEN event = 'log_lines_dropped' THEN count || ' lines'"
    " WHEN count IS NOT NULL THEN count || ' times' END), duration_s, stack, count(*) OVER () FROM {rare}"
    " WHERE level IN ('warning', 'error', 'critical') ORDER BY ts DESC, event, node, username, address, 7, 8,"
    " duration_s, stack LIMIT {limit}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step width, the number of lines, and whether with stacks."""
    parser.add_argument(
        "--every", metavar="STEP", help="width of a step of the sparkline (chosen by the period)"
    )
    parser.add_argument("--stacks", action="store_true", help="also show the stacks")
    add_limit_option(parser, "lines")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the kinds of trouble over time, and the last warnings and errors."""
    rare = log.rare_events(*trouble.TROUBLE_FIELDS, *_LINE_COLUMNS)
    width = time_buckets.choose_width(log, args.every)
    kinds = trouble.trouble_table(log, width)
    found = log.rows(_WARNING_LINES.format(rare=rare, limit=args.limit))
    more = found[0][-1] - len(found) if found else 0
    columns = [
        ReportColumn("ts", "time (UTC)", "time"),
        ReportColumn("level", "level", "text", drop_order=1),
        ReportColumn("event", "event", "text"),
        ReportColumn("node", "node", "text"),
        ReportColumn("username", "user", "text"),
        ReportColumn("address", "address", "text"),
        ReportColumn("why", "why", "text", "The reason, or the class of the exception"),
        ReportColumn("error", "message", "text"),
        ReportColumn("duration_s", "lasted", "seconds"),
        ReportColumn("stack", "stack", "text"),
    ]
    rows = [row[:-1] for row in found]
    if not args.stacks:
        columns.pop()
        rows = [row[:-1] for row in rows]
    notes = [f"the last {len(rows)} of {len(rows) + more:,}; --limit shows more."] if more else []
    return [kinds, ReportTable("lines", "Warnings and errors, the last first", columns, rows, notes)]
