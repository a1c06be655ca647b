"""The report `errors`: what went wrong, how often, when, and in what words.

Knows where a log tells of trouble. Must not know how it is shown.
"""

import argparse
from typing import Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.queries import trouble
from chat_ops.reports.row_limit import add_limit
from chat_ops.table import Column, Table

HELP: Final = "what went wrong: errors answered, connections refused, warnings and faults, with their words"

_NEEDS: Final = (
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
_LINES: Final = (
    "SELECT ts, level, event, node, username, address, coalesce(reason, error_type), coalesce(error,"
    " CASE WHEN lag_ms IS NOT NULL THEN 'late by ' || round(lag_ms)::BIGINT || ' ms'"
    " WHEN event = 'log_lines_dropped' THEN count || ' lines'"
    " WHEN count IS NOT NULL THEN count || ' times' END), duration_s, stack, count(*) OVER () FROM {few}"
    " WHERE level IN ('warning', 'error', 'critical') ORDER BY ts DESC, event, node, username, address, 7, 8,"
    " duration_s, stack LIMIT {limit}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many lines are shown, and whether with stacks."""
    parser.add_argument(
        "--every", metavar="STEP", help="how wide a step of the sparkline is (chosen by the span)"
    )
    parser.add_argument("--stacks", action="store_true", help="show the stacks, too")
    add_limit(parser, "lines")


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the kinds of trouble, their course, and the last lines that warn."""
    few = log.few(*trouble.NEEDS, *_NEEDS)
    width = time_buckets.width_for(log, args.every)
    kinds = trouble.table(log, width)
    found = log.rows(_LINES.format(few=few, limit=args.limit))
    more = found[0][-1] - len(found) if found else 0
    columns = [
        Column("ts", "time (UTC)", "time"),
        Column("level", "level", "text", aside=1),
        Column("event", "event", "text"),
        Column("node", "node", "text"),
        Column("username", "user", "text"),
        Column("address", "address", "text"),
        Column("why", "why", "text", "The reason, or the class of the exception"),
        Column("error", "in words", "text"),
        Column("duration_s", "lasted", "seconds"),
        Column("stack", "stack", "text"),
    ]
    rows = [row[:-1] for row in found]
    if not args.stacks:
        columns.pop()
        rows = [row[:-1] for row in rows]
    notes = [f"the last {len(rows)} of {len(rows) + more:,}; --limit shows more."] if more else []
    return [kinds, Table("lines", "Lines that warn, the last first", columns, rows, notes)]
