"""When servers started anew: what a server had open before has ended then, whether or not a line says so.

Knows which line begins a run. Must not know what was open. A server that crashed writes no line for the
sessions it had; the last line of its node before it started again is the latest moment they can have been
seen.
"""

from typing import Final

from chat_ops.log.event_log import EventLog

_STARTS: Final = """
SELECT DISTINCT coalesce(node, '') AS node, ts FROM {source} WHERE event = 'server_started' AND ts > ?
"""
"""But for the first line of all: nothing is before it."""
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
"""By minutes first, and by lines only where a minute holds a start: to sort all lines takes far longer."""
_NO_RESTARTS: Final = "SELECT node, ts AS until, ts AS seen, false AS crashed FROM starts"


def make_restarts_table(log: EventLog, source: str = "") -> bool:
    """Make the table `restarts`: of each node, `until` when runs lasted at most, and when it was last `seen`.

    `source` is a table of lines, by default all of the times and nodes that are asked for: whoever asks for
    one user is told of restarts, too. Returns whether there are any.
    """
    source = source or log.view_of_all_names
    log.materialise("starts", _STARTS.format(source=source), log.extent.first)
    some = log.rows("SELECT count(*) FROM starts") != [(0,)]
    log.materialise("restarts", _RESTARTS.format(source=source) if some else _NO_RESTARTS)
    return some
