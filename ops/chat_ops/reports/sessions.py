"""The report `sessions`: address, duration, traffic and end of each session.

A server that starts again without having stopped has lost its open sessions (`crashed`).
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log import restarts
from chat_ops.log.event_log import EventLog
from chat_ops.reports.row_limit import add_limit_option
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "address, duration, traffic and end of each session"

_ORDERS: Final = {
    "last": "coalesce(ended, began) DESC",
    "first": "began",
    "time": "duration_s DESC NULLS LAST",
    "messages": "messages_in DESC NULLS LAST",
    "sent": "bytes_out DESC NULLS LAST",
    "rtt": "rtt_p99_ms DESC NULLS LAST",
}
_SESSIONS: Final = """
SELECT arg_max(username, (ts, username)) AS username, arg_max(address, (ts, address)) AS address,
  arg_max(dialect, (ts, dialect)) AS dialect, arg_max(node, (ts, node)) AS node,
  coalesce(min(ts) FILTER (event = 'session_opened'),
    min(ts - to_milliseconds((duration_s * 1000)::BIGINT)) FILTER (event = 'session_closed')) AS began,
  max(ts) FILTER (event = 'session_opened') AS came, max(ts) FILTER (event = 'session_closed') AS left_at,
  sum(duration_s::DECIMAL(28, 6)) FILTER (event = 'session_closed')::DOUBLE AS duration_s,
  count(*) FILTER (event = 'session_opened' AND resumed) AS resumed,
  sum(messages_in)::BIGINT AS messages_in, sum(messages_out)::BIGINT AS messages_out,
  sum(bytes_in)::BIGINT AS bytes_in, sum(bytes_out)::BIGINT AS bytes_out,
  max(rtt_p50_ms) AS rtt_p50_ms, max(rtt_p99_ms) AS rtt_p99_ms,
  arg_max(reason, (ts, reason)) FILTER (event = 'session_closed') AS reason, session_id
FROM lines WHERE event IN ('session_opened', 'session_closed') GROUP BY session_id
"""
_SUSPECTS: Final = """
SELECT session_id FROM (
    SELECT session_id, min(ts) AS first, max(ts) AS last, coalesce(min(node), '') AS node,
        min(node) IS DISTINCT FROM max(node) AS moved,
        max(ts) FILTER (event = 'session_opened') AS came,
        max(ts) FILTER (event = 'session_closed') AS left_at
    FROM lines WHERE event IN ('session_opened', 'session_closed') GROUP BY session_id
) AS s
WHERE left_at IS NULL OR left_at < came OR moved OR first::DATE <> last::DATE OR EXISTS (
    FROM restarts AS r
    WHERE r.node = s.node AND r.until::DATE = s.last::DATE AND r.until > s.first AND r.until <= s.last)
"""
"""Sessions that may have been cut off: all but those with a logged end and no server start since they began.
They are few, and finding the run of each line is slow."""
_CUT_OFF: Final = """
SELECT *, epoch_us(seen - came) / 1e6 AS duration_s FROM (
    SELECT l.session_id, arg_max(l.dialect, (l.ts, l.dialect)) AS dialect, r.seen,
        CASE WHEN r.crashed THEN 'crashed' END AS reason,
        max(l.ts) FILTER (event = 'session_opened') AS came,
        max(l.ts) FILTER (event = 'session_closed') AS left_at
    FROM (
        SELECT ts, event, session_id, dialect, coalesce(node, '') AS node
        FROM lines SEMI JOIN suspects USING (session_id) WHERE event IN ('session_opened', 'session_closed')
    ) AS l ASOF JOIN restarts AS r ON l.node = r.node AND l.ts < r.until
    GROUP BY l.session_id, r.node, r.until, r.seen, r.crashed
) WHERE left_at IS NULL OR left_at < came
"""
"""Sessions that were open at their server's last line before a restart."""
_KNOWN: Final = f"""
SELECT username, address, dialect, node, began,
  CASE WHEN left_at >= came OR came IS NULL THEN left_at ELSE seen END AS ended,
  CASE WHEN lost_s IS NULL THEN duration_s ELSE coalesce(duration_s, 0) + lost_s END AS duration_s,
  resumed, messages_in, messages_out, bytes_in, bytes_out, rtt_p50_ms, rtt_p99_ms,
  CASE WHEN left_at >= came OR came IS NULL THEN reason ELSE lost END AS reason, session_id
FROM ({_SESSIONS}) LEFT JOIN (
    SELECT session_id, max(came) AS last_came, arg_max(seen, (came, seen)) AS last_seen,
        arg_max_null(reason, (came, seen)) AS last_reason, sum(duration_s::DECIMAL(28, 6))::DOUBLE AS lost_s
    FROM cut_off GROUP BY session_id
) USING (session_id),
LATERAL (SELECT CASE WHEN last_came = came THEN last_seen END AS seen,
    CASE WHEN last_came = came THEN last_reason END AS lost)
"""
"""A session that was resumed is open, whatever ended before. One that was cut off ended with the server's
last line."""
_ENDED: Final = "Empty: still open, or its end is not in the log. After a crash: the server's last line"
_COLUMNS: Final = (
    ReportColumn("username", "user", "text"),
    ReportColumn("address", "from", "text"),
    ReportColumn("dialect", "dialect", "text", drop_order=2),
    ReportColumn("node", "node", "text", drop_order=2),
    ReportColumn("began", "began (UTC)", "time"),
    ReportColumn("ended", "ended (UTC)", "time", _ENDED, drop_order=2),
    ReportColumn("duration_s", "lasted", "seconds"),
    ReportColumn("resumed", "resumed", "count", "How often it was resumed", drop_order=2),
    ReportColumn("messages_in", "said", "count"),
    ReportColumn("messages_out", "got", "count", drop_order=1),
    ReportColumn("bytes_in", "received", "bytes", drop_order=2),
    ReportColumn("bytes_out", "sent", "bytes", drop_order=1),
    ReportColumn("rtt_p50_ms", "rtt p50", "ms", drop_order=2),
    ReportColumn("rtt_p99_ms", "rtt p99", "ms"),
    ReportColumn("reason", "ended by", "text"),
    ReportColumn("session_id", "session", "text", drop_order=2),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the order, the filters, and the number of sessions."""
    parser.add_argument("--by", choices=_ORDERS, default="last", help="sort order (last)")
    parser.add_argument("--reason", metavar="WORD", help="only sessions that ended for this reason")
    parser.add_argument("--open", action="store_true", help="only sessions that were open when the log ended")
    add_limit_option(parser, "sessions")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return how sessions ended, by dialect and reason, and the sessions."""
    wanted = "(? IS NULL OR reason = ?) AND (NOT ? OR ended IS NULL)"
    some = restarts.make_restarts_table(log)
    log.materialise("suspects", _SUSPECTS if some else "SELECT NULL::VARCHAR AS session_id LIMIT 0")
    log.materialise("cut_off", _CUT_OFF if some else f"FROM ({_CUT_OFF}) LIMIT 0")
    listed = log.rows(
        f"SELECT *, count(*) OVER () FROM ({_KNOWN}) WHERE {wanted}"
        f" ORDER BY {_ORDERS[args.by]}, session_id LIMIT {args.limit}",
        args.reason,
        args.reason,
        args.open,
    )
    more = listed[0][-1] - len(listed) if listed else 0
    notes = [f"{len(listed)} of {len(listed) + more:,} sessions; --limit shows more."] if more else []
    endings = log.rows(
        "SELECT dialect, reason, count(*) AS n, 100.0 * count(*) / sum(count(*)) OVER (),"
        " quantile_cont(duration_s, [0.5, 0.9]) AS q, max(duration_s)"
        " FROM (SELECT dialect, reason, duration_s FROM lines WHERE event = 'session_closed'"
        " UNION ALL SELECT dialect, reason, duration_s FROM cut_off) WHERE (? IS NULL OR reason = ?)"
        " GROUP BY 1, 2 ORDER BY n DESC, 1, 2",
        args.reason,
        args.reason,
    )
    columns = (
        ReportColumn("dialect", "dialect", "text"),
        ReportColumn("reason", "ended by", "text"),
        ReportColumn("sessions", "sessions", "count"),
        ReportColumn("share", "share", "percent"),
        ReportColumn("p50_s", "median", "seconds"),
        ReportColumn("p90_s", "p90", "seconds"),
        ReportColumn("max_s", "longest", "seconds"),
    )
    rows = [(*row[:4], *(row[4] or (None, None)), row[5]) for row in endings]
    return [
        ReportTable("endings", "How sessions ended", columns, [] if args.open else rows),
        ReportTable("sessions", "Sessions", _COLUMNS, [row[:-1] for row in listed], notes),
    ]
