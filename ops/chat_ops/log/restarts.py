"""Restarts of servers, which end everything that a server had open before.

A crashed server logs no end of its sessions; they count until the last line of their node before its restart.
"""

from typing import Final

from chat_ops.log.event_log import EventLog

_STARTS: Final = """
SELECT DISTINCT coalesce(node, '') AS node, ts FROM {source} WHERE event = 'server_started' AND ts > ?
"""
"""All starts except one on the log's first line: nothing precedes it."""
_RESTARTS: Final = """
WITH near AS (
    SELECT DISTINCT node, date_trunc('minute', ts) AS minute FROM starts
), last AS (
    SELECT l.node, max(ts) AS ts, max(ts) FILTER (event = 'server_stopped') AS stopped
    FROM (
        SELECT coalesce(node, '') AS node, ts, event, date_trunc('minute', ts) AS minute FROM {source}
    ) AS l LEFT JOIN near USING (node, minute)
    GROUP BY l.node, minute, CASE WHEN near.node IS NOT NULL THEN ts END
)
SELECT node, until, max(ts) AS seen, max(stopped) IS DISTINCT FROM max(ts) AS crashed
FROM (
    SELECT l.*, s.ts AS until FROM last AS l ASOF JOIN starts AS s ON l.node = s.node AND l.ts < s.ts
) GROUP BY node, until
"""
"""Groups by minute, and by line only in minutes with a start: sorting all lines takes far longer."""
_NO_RESTARTS: Final = "SELECT node, ts AS until, ts AS seen, false AS crashed FROM starts"


def make_restarts_table(log: EventLog, source: str = "") -> bool:
    """Make the table `restarts`: each node's restart time (`until`), and its last line before (`seen`).

    `source` is a table of lines; by default all lines within the filters by time and node, as restarts also
    concern a report on one user. Returns whether there are any.
    """
    source = source or log.view_of_all_names
    log.materialise("starts", _STARTS.format(source=source), log.extent.first)
    some = log.rows("SELECT count(*) FROM starts") != [(0,)]
    log.materialise("restarts", _RESTARTS.format(source=source) if some else _NO_RESTARTS)
    return some
