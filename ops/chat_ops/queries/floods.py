"""Tables of floods: rate-limited senders, sessions closed for flooding, refused addresses.

Reads the table `storm_intervals` of stats/outlier_intervals.py.
"""

from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.stats import outlier_intervals, outliers
from chat_ops.table import ReportColumn, ReportTable

FLOOD_FLOOR_PER_S: Final = 1.0
"""`rate_limited` errors per second; up to this it is not a flood, as users paste text."""


def flood_tables(log: EventLog, factor: float, top: int) -> list[ReportTable]:
    """Return the floods, the sessions closed for flooding, and the refused addresses."""
    return [_floods(log, factor, top), _flooders(log, top), _refused(log, top)]


def _floods(log: EventLog, factor: float, top: int) -> ReportTable:
    spans = [
        outliers.TimeSpan(*span)
        for span in outlier_intervals.find_outliers(log, "rate_limited", factor, FLOOD_FLOOR_PER_S)
    ]
    spans += [
        outliers.TimeSpan(*span) for span in outlier_intervals.find_outliers(log, "flooding", factor, 0.0)
    ]
    found = []
    for span in outliers.join_spans(spans):
        (counts,) = log.rows(
            "SELECT coalesce(sum(rate_limited), 0)::BIGINT, coalesce(sum(flooding), 0)::BIGINT,"
            " coalesce(sum(refused), 0)::BIGINT FROM storm_intervals WHERE begun < ? AND ended > ?",
            span.end,
            span.begin,
        )
        found.append((outlier_intervals.utc_time(span.begin), span.end - span.begin, *counts))
    shown = sorted(found, key=lambda row: (-row[2], row[0]))[:top]
    return ReportTable(
        "floods",
        "Floods",
        (
            ReportColumn("from", "from", "time"),
            ReportColumn("lasted_s", "lasted", "seconds", "By whole intervals"),
            ReportColumn("rate_limited", "rate limited", "count", "Messages refused by the rate limit"),
            ReportColumn("flooding", "closed", "count", "Sessions closed for flooding"),
            ReportColumn("refused", "refused", "count", "Connections refused meanwhile"),
        ),
        sorted(shown, key=lambda row: row[0]),
        [f"the {top} largest of {len(found)}; --top N shows more"] if len(found) > top else [],
    )


def _flooders(log: EventLog, top: int) -> ReportTable:
    return ReportTable(
        "flooders",
        "Closed for flooding",
        (
            ReportColumn("address", "address", "text"),
            ReportColumn("username", "user", "text", "One of them, if the address has several"),
            ReportColumn("times", "times", "count"),
            ReportColumn("messages_in", "messages", "count", "Accepted before"),
            ReportColumn("bytes_in", "bytes", "bytes", "Received"),
            ReportColumn("first", "first", "time"),
            ReportColumn("last", "last", "time"),
        ),
        log.rows(
            "SELECT regexp_replace(address, ':[0-9]+$', '') AS peer, min(username), count(*) AS times,"
            " sum(messages_in)::BIGINT, sum(bytes_in)::BIGINT, min(ts), max(ts) FROM lines"
            " WHERE event = 'session_closed' AND reason = 'flooding'"
            " GROUP BY peer ORDER BY times DESC, peer LIMIT ?",
            top,
        ),
    )


def _refused(log: EventLog, top: int) -> ReportTable:
    return ReportTable(
        "refused",
        "Refused",
        (
            ReportColumn("address", "address", "text", "Empty: all without a line of their own"),
            ReportColumn("reason", "reason", "text"),
            ReportColumn("count", "times", "count"),
            ReportColumn("others", "addresses", "count", "If one line is for several"),
            ReportColumn("sessions", "sessions", "count", "Open at the time, at most"),
            ReportColumn("first", "first", "time"),
            ReportColumn("last", "last", "time"),
        ),
        log.rows(
            "SELECT address, reason, coalesce(sum(count), 0)::BIGINT AS times, max(others), max(sessions),"
            " min(ts), max(ts) FROM lines WHERE event = 'connection_refused'"
            " GROUP BY address, reason ORDER BY times DESC, address, reason LIMIT ?",
            top,
        ),
    )
