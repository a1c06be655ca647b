"""When servers started anew: what a server had open before has ended then, whether or not a line says so.

Knows which line begins a run. Must not know what was open. A server that crashed writes no line for the
sessions it had; the last line of its node before it started again is the latest moment they can have been
seen.
"""

from typing import Final

from chat_ops.log import Log

_STARTS: Final = """
SELECT DISTINCT coalesce(node, '') AS node, ts FROM {source} WHERE event = 'server_started' AND ts > ?
"""
"""But for the first line of all: nothing is before it."""
_RESTARTS: Final = """
SELECT node, until, max(ts) AS seen,
    max(ts) FILTER (event = 'server_stopped') IS DISTINCT FROM max(ts) AS crashed
FROM (
    SELECT l.node, l.ts, l.event, s.ts AS until
    FROM (SELECT coalesce(node, '') AS node, ts, event FROM {source}) AS l
    ASOF JOIN starts AS s ON l.node = s.node AND l.ts < s.ts
) GROUP BY node, until
"""
_NONE: Final = "SELECT node, ts AS until, ts AS seen, false AS crashed FROM starts"


def keep(log: Log, source: str = "") -> bool:
    """Make the table `restarts`: of each node, `until` when runs lasted at most, and when it was last `seen`.

    `source` is a table of lines, by default all of the times and nodes that are asked for: whoever asks for
    one user is told of restarts, too. Returns whether there are any.
    """
    source = source or log.regardless
    log.keep("starts", _STARTS.format(source=source), log.extent.first)
    some = log.rows("SELECT count(*) FROM starts") != [(0,)]
    log.keep("restarts", _RESTARTS.format(source=source) if some else _NONE)
    return some
