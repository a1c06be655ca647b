"""What went wrong, by kind: answered errors, refused connections, servers that crashed, events that warn.

Knows where a log tells of trouble. Must not know how it is shown. Two reports show it.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

from datetime import datetime, timedelta
from typing import Final

from chat_ops.log import restarts, time_buckets
from chat_ops.log.event_log import Log
from chat_ops.table import Column, Table

COLUMNS: Final = (
    Column(
        "kind",
        "kind",
        "text",
        "answered: an error to a peer; refused: a connection; crashed: a server that started again without"
        " having stopped; else the level",
    ),
    Column("what", "what", "text", "The code, reason or event; of a crash, the node"),
    Column("count", "count", "count"),
    Column("first", "first (UTC)", "time", aside=2),
    Column("last", "last (UTC)", "time"),
    Column("over_time", "over time", "spark"),
)
NEEDS: Final = ("interval_s", "errors", "refused", "count")
"""What it reads of the few lines."""
_STEPS: Final = 1000
"""A course of more steps is not told: it would be mostly zeros."""


def table(log: Log, width: int) -> Table:
    """Return each kind of trouble with its count and its course, the commonest first."""
    few = log.few(*NEEDS)
    maps = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, one.key AS what, one.value AS n, moment FROM"
        f" (SELECT {time_buckets.MOMENT} AS moment, unnest(map_entries({column})) AS one FROM {few}"
        " WHERE event = 'interval')"
        for kind, column in (("answered", "errors"), ("refused", "refused"))
    )
    events = (
        "SELECT level, event, CASE WHEN event = 'connection_refused' THEN coalesce(count, 1) ELSE 1 END, ts"
        f" FROM {few} WHERE level IN ('warning', 'error', 'critical')"
    )
    restarts.keep(log, few)
    crashes = "SELECT 'crashed', node, 1, seen FROM restarts WHERE crashed"
    found = log.rows(
        "SELECT kind, what, sum(n)::BIGINT, min(first), max(last), map_from_entries(list((step, n))) FROM"
        f" (SELECT kind, what, {time_buckets.bucket(width, 'moment')} AS step, sum(n)::BIGINT AS n,"
        f" min(moment) AS first, max(moment) AS last FROM ({maps} UNION ALL {events}"
        f" UNION ALL {crashes}) GROUP BY 1, 2, 3)"
        " GROUP BY 1, 2 ORDER BY 3 DESC, 2, 1"
    )
    steps = _steps([moment for row in found for moment in row[5]], width)
    return Table(
        "trouble",
        "Trouble",
        COLUMNS,
        [(*row[:5], [row[5].get(moment, 0) for moment in steps] if steps else None) for row in found],
    )


def _steps(moments: list[datetime], width: int) -> list[datetime]:
    """Return the steps from the first trouble to the last; none if they are too many."""
    if not moments:
        return []
    step = timedelta(seconds=width)
    number = (max(moments) - min(moments)) // step + 1
    return [min(moments) + n * step for n in range(number)] if number <= _STEPS else []
