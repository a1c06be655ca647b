"""Table of trouble by kind: answered errors, refused connections, crashed servers, warnings."""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

from datetime import datetime, timedelta
from typing import Final

from chat_ops.log import restarts, time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.table import ReportColumn, ReportTable

COLUMNS: Final = (
    ReportColumn(
        "kind",
        "kind",
        "text",
        "answered: an error to a peer; refused: a connection; crashed: a server that started again without"
        " having stopped; otherwise the level",
    ),
    ReportColumn("what", "what", "text", "The code, reason or event; for a crash, the node"),
    ReportColumn("count", "count", "count"),
    ReportColumn("first", "first (UTC)", "time", drop_order=2),
    ReportColumn("last", "last (UTC)", "time"),
    ReportColumn("over_time", "over time", "spark"),
)
TROUBLE_FIELDS: Final = ("interval_s", "errors", "refused", "count")
"""Columns that it reads of the rare events."""
_MAX_STEPS: Final = 1000
"""No sparkline for more steps: it would be mostly zeros."""


def trouble_table(log: EventLog, width: int) -> ReportTable:
    """Return each kind of trouble with its count, in total and over time, the most frequent first."""
    rare = log.rare_events(*TROUBLE_FIELDS)
    maps = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, one.key AS what, one.value AS n, line_time FROM"
        f" (SELECT {time_buckets.LINE_TIME_SQL} AS line_time, unnest(map_entries({column})) AS one"
        f" FROM {rare} WHERE event = 'interval')"
        for kind, column in (("answered", "errors"), ("refused", "refused"))
    )
    events = (
        "SELECT level, event, CASE WHEN event = 'connection_refused' THEN coalesce(count, 1) ELSE 1 END, ts"
        f" FROM {rare} WHERE level IN ('warning', 'error', 'critical')"
    )
    restarts.make_restarts_table(log, rare)
    crashes = "SELECT 'crashed', node, 1, seen FROM restarts WHERE crashed"
    found = log.rows(
        "SELECT kind, what, sum(n)::BIGINT, min(first), max(last), map_from_entries(list((step, n))) FROM"
        f" (SELECT kind, what, {time_buckets.bucket_sql(width, 'line_time')} AS step, sum(n)::BIGINT AS n,"
        f" min(line_time) AS first, max(line_time) AS last FROM ({maps} UNION ALL {events}"
        f" UNION ALL {crashes}) GROUP BY 1, 2, 3)"
        " GROUP BY 1, 2 ORDER BY 3 DESC, 2, 1"
    )
    steps = _step_starts([time for row in found for time in row[5]], width)
    return ReportTable(
        "trouble",
        "Trouble",
        COLUMNS,
        [(*row[:5], [row[5].get(start, 0) for start in steps] if steps else None) for row in found],
    )


def _step_starts(times: list[datetime], width: int) -> list[datetime]:
    """Return the starts of the steps from the first trouble to the last; none if there are too many."""
    if not times:
        return []
    step = timedelta(seconds=width)
    number = (max(times) - min(times)) // step + 1
    return [min(times) + n * step for n in range(number)] if number <= _MAX_STEPS else []
