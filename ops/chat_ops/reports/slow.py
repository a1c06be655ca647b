"""The report `slow`: lagging readers, how far they fell behind, and how each lag ended.

A lag begins with `reader_lagging` and ends with the next line of the same session: it caught up, or the
session ended. Its end may be missing (end of the log), and so may its beginning (rotated away). No lag
outlasts the run of its server: after a crash, the session may be resumed with the same id.
"""

import argparse
from typing import Final

from chat_ops.log import restarts
from chat_ops.log.event_log import EventLog
from chat_ops.reports import row_limit
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "lagging readers: how often, how long, how far behind, and whether they caught up"

_LINES: Final = """
SELECT ts, node, event, session_id, username, address, reason, behind, waiting_bytes, messages,
    CASE WHEN event = 'session_closed' THEN NULL ELSE duration_s END AS duration_s
FROM lines
WHERE event IN ('reader_lagging', 'reader_caught_up', 'session_closed')
"""
_LAGS: Final = """
WITH lagged AS (
    SELECT DISTINCT session_id FROM slow_lines WHERE event <> 'session_closed' OR reason = 'stalled'
), events AS (
    SELECT l.*, r.until, r.seen, r.crashed, lag(event) OVER one AS before, lead(event) OVER one AS after,
        lead(ts) OVER one AS after_ts, lead(duration_s) OVER one AS after_s,
        lead(reason) OVER one AS after_reason, lead(messages) OVER one AS after_messages
    FROM (SELECT * FROM slow_lines SEMI JOIN lagged USING (session_id)) AS l
    ASOF LEFT JOIN restarts AS r ON coalesce(l.node, '') = r.node AND l.ts < r.until
    WINDOW one AS (PARTITION BY l.node, l.session_id, r.until ORDER BY l.ts, l.event, l.duration_s, l.reason,
        l.behind, l.username, l.address)
)
SELECT node, session_id, username, address, ts, behind, waiting_bytes,
    CASE after WHEN 'reader_caught_up' THEN 'caught up'
        WHEN 'session_closed' THEN CASE after_reason WHEN 'stalled' THEN 'stalled' ELSE 'left' END
        WHEN 'reader_lagging' THEN 'unknown'
        ELSE CASE WHEN until IS NULL THEN 'unknown' WHEN crashed THEN 'crashed' ELSE 'left' END END AS ended,
    CASE after WHEN 'reader_caught_up' THEN after_s WHEN 'reader_lagging' THEN NULL
        ELSE duration_s + epoch_us(coalesce(after_ts, seen) - ts) / 1e6 END AS lasted,
    CASE after WHEN 'reader_caught_up' THEN after_messages END AS fed
FROM events WHERE event = 'reader_lagging'
UNION ALL
SELECT node, session_id, username, address, ts, NULL, NULL,
    CASE event WHEN 'reader_caught_up' THEN 'caught up' ELSE 'stalled' END, duration_s, messages
FROM events WHERE before IS DISTINCT FROM 'reader_lagging'
    AND (event = 'reader_caught_up' OR (event = 'session_closed' AND reason = 'stalled'))
"""

_ENDINGS: Final = (
    ReportColumn("caught_up", "caught up", "count", "Lags after which the reader had everything"),
    ReportColumn("stalled", "stalled", "count", "Lags that the server ended, as the reader made no progress"),
    ReportColumn(
        "left",
        "left",
        "count",
        "Lags during which the session ended for another reason, or its server crashed",
    ),
    ReportColumn("unknown", "unknown", "count", "Lags whose end is not in the log"),
)
_COUNTED: Final = """count(*) FILTER (ended = 'caught up'), count(*) FILTER (ended = 'stalled'),
    count(*) FILTER (ended IN ('left', 'crashed')), count(*) FILTER (ended = 'unknown')"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of readers shown."""
    row_limit.add_top_option(parser, 20, "slowest readers shown")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the lags in total, and by reader."""
    log.materialise("slow_lines", _LINES)
    restarts.make_restarts_table(log)
    log.materialise("lags", _LAGS)
    return [_sum(log), _readers(log, args.top)]


def _sum(log: EventLog) -> ReportTable:
    ((lags, *counted, longest, most),) = log.rows(
        f"SELECT count(*), {_COUNTED}, max(lasted), max(behind) FROM lags"  # noqa: S608  ours
    )
    lines = f"{log.rare_events('lagging', 'caught_up')} WHERE event = 'interval' AND lagging IS NOT NULL"
    ((fed, peak),) = log.rows(f"SELECT sum(caught_up)::BIGINT, max(lagging) FROM {lines}")  # noqa: S608  as above
    spark = log.rows(f"SELECT max(lagging) FROM {lines} GROUP BY ts ORDER BY ts")  # noqa: S608  as above
    rows = (
        []
        if not lags and not fed
        else [(lags, *counted, longest, most, fed, peak, [value for (value,) in spark])]
    )
    return ReportTable(
        "lags",
        "Lagging readers",
        (
            ReportColumn("lags", "lags", "count", "How often a reader could not keep up for a second"),
            *_ENDINGS,
            ReportColumn("longest_s", "longest", "seconds"),
            ReportColumn("most_behind", "most behind", "count", "Messages missing when the lag was logged"),
            ReportColumn("fed", "fed", "count", "Messages fed from the log, also to resumed sessions"),
            ReportColumn(
                "lagging_peak", "at once", "count", "Most sessions fed from the log at an interval's end"
            ),
            ReportColumn(
                "lagging", "fed over time", "spark", "Sessions fed from the log at each interval's end"
            ),
        ),
        rows,
    )


def _readers(log: EventLog, top: int) -> ReportTable:
    rows = log.rows(
        "SELECT arg_max(username, (ts, username)), session_id, arg_max(address, (ts, address)),"  # noqa: S608  a number
        " min(ts) AS first, count(*), sum(lasted::DECIMAL(28, 6))::DOUBLE AS total, max(lasted),"
        " max(behind), max(waiting_bytes), sum(fed)::BIGINT,"
        " count(*) FILTER (ended = 'caught up'), arg_max(ended, (ts, ended))"
        " FROM lags GROUP BY node, session_id ORDER BY total DESC NULLS FIRST, first, session_id, node"
        f" LIMIT {top}"
    )
    ((readers,),) = log.rows("SELECT count(*) FROM (SELECT DISTINCT node, session_id FROM lags)")
    return ReportTable(
        "readers",
        "The slowest",
        (
            ReportColumn("username", "user", "text"),
            ReportColumn("session_id", "session", "text", drop_order=2),
            ReportColumn("address", "address", "text"),
            ReportColumn("first", "first", "time", drop_order=2),
            ReportColumn("lags", "lags", "count"),
            ReportColumn("lasted_s", "total", "seconds", "Of the lags whose end is in the log"),
            ReportColumn("longest_s", "longest", "seconds"),
            ReportColumn(
                "most_behind", "behind", "count", "Most messages missing when a lag was logged", drop_order=2
            ),
            ReportColumn("most_waiting_bytes", "waiting", "bytes", "Most bytes queued for the peer"),
            ReportColumn(
                "fed", "fed", "count", "Messages fed from the log until it had caught up", drop_order=2
            ),
            _ENDINGS[0],
            ReportColumn("last_ended", "at last", "text", "How the last lag ended"),
        ),
        rows,
        [f"the {top} slowest of {readers}; --top N shows more"] if readers > len(rows) else [],
    )
