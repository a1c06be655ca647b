"""The tables of `storms` about floods: when senders were too fast, and who was closed or turned away for it.

Knows which lines tell of it; `storm_intervals` is kept by stats/outlier_intervals.py. Must not know what is
out of the ordinary.
"""

from typing import Final

from chat_ops.log.event_log import Log
from chat_ops.stats import outlier_intervals, outliers
from chat_ops.table import Column, Table

FLOOR: Final = 1.0
"""`rate_limited` errors a second up to which nothing is a flood: people paste."""


def tables(log: Log, factor: float, top: int) -> list[Table]:
    """Return the floods, the sessions closed for flooding, and the addresses turned away."""
    return [_floods(log, factor, top), _flooders(log, top), _refused(log, top)]


def _floods(log: Log, factor: float, top: int) -> Table:
    spans = [outliers.Span(*span) for span in outlier_intervals.intervals(log, "rate_limited", factor, FLOOR)]
    spans += [outliers.Span(*span) for span in outlier_intervals.intervals(log, "flooding", factor, 0.0)]
    found = []
    for span in outliers.joined(spans):
        (counts,) = log.rows(
            "SELECT coalesce(sum(rate_limited), 0)::BIGINT, coalesce(sum(flooding), 0)::BIGINT,"
            " coalesce(sum(refused), 0)::BIGINT FROM storm_intervals WHERE begun < ? AND ended > ?",
            span.end,
            span.begin,
        )
        found.append((outlier_intervals.moment(span.begin), span.end - span.begin, *counts))
    shown = sorted(found, key=lambda row: (-row[2], row[0]))[:top]
    return Table(
        "floods",
        "Floods",
        (
            Column("from", "from", "time"),
            Column("lasted_s", "lasted", "seconds", "By whole intervals"),
            Column("rate_limited", "rate limited", "count", "Messages refused since they came too fast"),
            Column("flooding", "closed", "count", "Sessions closed for flooding"),
            Column("refused", "refused", "count", "Connections turned away meanwhile"),
        ),
        sorted(shown, key=lambda row: row[0]),
        [f"the {top} largest of {len(found)}; --top N shows more"] if len(found) > top else [],
    )


def _flooders(log: Log, top: int) -> Table:
    return Table(
        "flooders",
        "Closed for flooding",
        (
            Column("address", "address", "text"),
            Column("username", "user", "text", "One of them, where an address has several"),
            Column("times", "times", "count"),
            Column("messages_in", "messages", "count", "Accepted before"),
            Column("bytes_in", "bytes", "bytes", "Received"),
            Column("first", "first", "time"),
            Column("last", "last", "time"),
        ),
        log.rows(
            "SELECT regexp_replace(address, ':[0-9]+$', '') AS peer, min(username), count(*) AS times,"
            " sum(messages_in)::BIGINT, sum(bytes_in)::BIGINT, min(ts), max(ts) FROM lines"
            " WHERE event = 'session_closed' AND reason = 'flooding'"
            " GROUP BY peer ORDER BY times DESC, peer LIMIT ?",
            top,
        ),
    )


def _refused(log: Log, top: int) -> Table:
    return Table(
        "refused",
        "Turned away",
        (
            Column("address", "address", "text", "Empty: all that had no line of their own"),
            Column("reason", "reason", "text"),
            Column("count", "times", "count"),
            Column("others", "addresses", "count", "Where one line is for several"),
            Column("sessions", "sessions", "count", "Open at the time, at most"),
            Column("first", "first", "time"),
            Column("last", "last", "time"),
        ),
        log.rows(
            "SELECT address, reason, coalesce(sum(count), 0)::BIGINT AS times, max(others), max(sessions),"
            " min(ts), max(ts) FROM lines WHERE event = 'connection_refused'"
            " GROUP BY address, reason ORDER BY times DESC, address, reason LIMIT ?",
            top,
        ),
    )
