"""Peak number of concurrent sessions and its time, from interval lines or else from session lines.

At equal times, openings count before closings.
"""

# ruff: noqa: S608  SQL is built from our own names

from typing import Final

from chat_ops.log import restarts
from chat_ops.log.event_log import EventLog
from chat_ops.table import Row

_OF_INTERVALS: Final = """
SELECT ts, now_on - coalesce(lag(now_on) OVER (PARTITION BY node ORDER BY ts, over, now_on), 0) AS change
FROM (
    SELECT ts, coalesce(node, '') AS node, coalesce(sessions, 0) AS now_on, false AS over
    FROM {rare} WHERE event = 'interval'
    UNION ALL SELECT ts, coalesce(node, ''), 0, true FROM {rare} WHERE event = 'server_stopped'
    UNION ALL SELECT seen, node, 0, true FROM restarts
)
"""
_OF_SESSIONS: Final = """
WITH changes AS (
    SELECT ts, coalesce(node, '') AS node, session_id,
        CASE event WHEN 'session_opened' THEN 1 ELSE -1 END AS change
    FROM lines WHERE event IN ('session_opened', 'session_closed')
), of_runs AS (
    SELECT t.*, r.until, r.seen
    FROM changes AS t ASOF LEFT JOIN restarts AS r ON t.node = r.node AND t.ts < r.until
    -- A session that opens twice counts once: its closing line was dropped.
    QUALIFY change IS DISTINCT FROM lag(change) OVER (
        PARTITION BY t.node, r.until, session_id ORDER BY t.ts, change DESC)
), counted AS (
    SELECT *, sum(change) OVER (
            PARTITION BY node, until, session_id ORDER BY ts, change DESC ROWS UNBOUNDED PRECEDING) AS open
    FROM of_runs
), runs AS (
    -- A session that closed without having opened was open before, most likely before the log's first line.
    SELECT node, until, max(seen) AS seen, sum(before) AS before, sum(more) AS more
    FROM (
        SELECT node, until, max(seen) AS seen, greatest(-min(open), 0) AS before, sum(change) AS more
        FROM counted GROUP BY node, until, session_id
    ) GROUP BY node, until
)
SELECT ts, change FROM of_runs
UNION ALL
SELECT coalesce(
    (SELECT max(r.until) FROM restarts AS r
        WHERE r.node = runs.node AND (runs.until IS NULL OR r.until < runs.until)),
    (SELECT min(ts) FROM changes)), before
FROM runs WHERE before > 0
UNION ALL
SELECT seen, -(before + more) FROM runs WHERE until IS NOT NULL AND before + more > 0
"""


def find_peak(log: EventLog, rare: str, *, intervals: bool) -> Row:
    """Return the peak of sessions over all nodes, and its time; (None, None) if it is not logged."""
    if not intervals:
        restarts.make_restarts_table(log)
        changes = _OF_SESSIONS
    elif log.rows(f"SELECT count(sessions) FROM {rare}")[0][0]:
        restarts.make_restarts_table(log, rare)
        changes = _OF_INTERVALS.format(rare=rare)
    else:
        return (None, None)  # e.g. for one room
    return log.rows(
        "SELECT max(at_once)::BIGINT, arg_max(ts, (at_once, -epoch_us(ts))) FROM (SELECT ts,"
        f" sum(change) OVER (ORDER BY ts, change DESC ROWS UNBOUNDED PRECEDING) AS at_once FROM ({changes}))"
    )[0]
