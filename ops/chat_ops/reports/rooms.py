"""The report `rooms`: the busiest rooms, with their latencies.

An interval line has only its ten busiest rooms; `message` lines (--log-messages) have every room.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.reports.row_limit import add_limit_option
from chat_ops.stats.histogram import SparseHistogram
from chat_ops.table import ReportColumn, ReportTable

HELP: Final = "the busiest rooms, with their latencies"

_BUSIEST_NOTE: Final = (
    "From the ten busiest rooms of each interval: quiet rooms may be missing, and sums too low."
)
_EVERY_NOTE: Final = "From the message lines (--log-messages): every room and message."

_FROM_INTERVALS: Final = (
    "SELECT one.room AS room, sum(one.messages)::BIGINT AS messages,"
    " sum(one.deliveries)::BIGINT AS deliveries, NULL::BIGINT AS people, NULL::BIGINT AS text_bytes,"
    " min(ts) AS first, max(ts) AS last FROM"
    " (SELECT ts, unnest(rooms) AS one FROM {rare} WHERE event = 'interval') GROUP BY 1"
)
_FROM_MESSAGES: Final = (
    "SELECT room, count(*) AS messages, NULL::BIGINT AS deliveries,"
    " count(DISTINCT nfc_normalize(lower(username))) AS people,"
    " sum(message_bytes)::BIGINT AS text_bytes, min(ts) AS first, max(ts) AS last"
    " FROM lines WHERE event = 'message' GROUP BY 1"
)
_LATENCIES: Final = (
    "SELECT one.room, one.accept_to_commit, one.commit_to_sent FROM"
    " (SELECT unnest(rooms) AS one FROM {rare} WHERE event = 'interval') WHERE one.room IN (SELECT unnest(?))"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of rooms shown."""
    add_limit_option(parser, "rooms")


def run(log: EventLog, args: argparse.Namespace) -> list[ReportTable]:
    """Return the rooms with the most messages."""
    rare = log.rare_events("rooms")
    logged = log.rows("SELECT 1 FROM lines WHERE event = 'message' LIMIT 1")
    every = _FROM_INTERVALS.format(rare=rare)
    if logged:
        every = (
            "SELECT room, m.messages, i.deliveries, m.people, m.text_bytes, m.first, m.last"
            f" FROM ({_FROM_MESSAGES}) m LEFT JOIN ({every}) i USING (room)"
        )
    found = log.rows(
        f"SELECT *, count(*) OVER () FROM ({every}) ORDER BY messages DESC, room LIMIT {args.limit}"
    )
    payloads = log.rows(_LATENCIES.format(rare=rare), [row[0] for row in found])
    commit = SparseHistogram.merge_groups((room, payload) for room, payload, _ in payloads)
    sent = SparseHistogram.merge_groups((room, payload) for room, _, payload in payloads)
    none = SparseHistogram()
    rows = [
        (
            *row[:5],
            *(of.get(row[0], none).percentile(percent) for of in (commit, sent) for percent in (50, 99)),
            *row[5:7],
        )
        for row in found
    ]
    notes = [_EVERY_NOTE if logged else _BUSIEST_NOTE]
    if found and found[0][-1] > len(found):
        notes.append(f"{len(found)} of {found[0][-1]:,} rooms; --limit shows more.")
    columns = (
        ReportColumn("room", "room", "text"),
        ReportColumn("messages", "messages", "count"),
        ReportColumn(
            "deliveries", "deliveries", "count", "While the room was among the ten busiest", drop_order=2
        ),
        ReportColumn("people", "writers", "count", "Different usernames that wrote"),
        ReportColumn("text_bytes", "text", "bytes", drop_order=2),
        ReportColumn("accept_to_commit_p50_us", "commit p50", "us"),
        ReportColumn("accept_to_commit_p99_us", "commit p99", "us"),
        ReportColumn("commit_to_sent_p50_us", "sent p50", "us"),
        ReportColumn("commit_to_sent_p99_us", "sent p99", "us"),
        ReportColumn("first", "first (UTC)", "time", drop_order=2),
        ReportColumn("last", "last (UTC)", "time", drop_order=2),
    )
    return [ReportTable("rooms", "Rooms", columns, rows, notes if rows else [])]
