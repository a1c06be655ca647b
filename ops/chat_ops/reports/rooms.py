"""The report `rooms`: the busiest rooms, with their latencies.

Knows that an interval line names its ten busiest rooms only, and a line `message` every one (--log-messages).
Must not know how it is shown.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

import argparse
from typing import Final

from chat_ops.log.event_log import Log
from chat_ops.reports.row_limit import add_limit
from chat_ops.stats.histogram import Histogram
from chat_ops.table import Column, Table

HELP: Final = "the busiest rooms, with their latencies"

_BUSIEST: Final = (
    "From the ten busiest rooms of each interval: a quiet room may be missing, and sums may be low."
)
_EVERY: Final = "From the lines of the messages (--log-messages): every room, every message."

_FROM_INTERVALS: Final = (
    "SELECT one.room AS room, sum(one.messages)::BIGINT AS messages,"
    " sum(one.deliveries)::BIGINT AS deliveries, NULL::BIGINT AS people, NULL::BIGINT AS text_bytes,"
    " min(ts) AS first, max(ts) AS last FROM"
    " (SELECT ts, unnest(rooms) AS one FROM {few} WHERE event = 'interval') GROUP BY 1"
)
_FROM_MESSAGES: Final = (
    "SELECT room, count(*) AS messages, NULL::BIGINT AS deliveries,"
    " count(DISTINCT nfc_normalize(lower(username))) AS people,"
    " sum(message_bytes)::BIGINT AS text_bytes, min(ts) AS first, max(ts) AS last"
    " FROM lines WHERE event = 'message' GROUP BY 1"
)
_LATENCIES: Final = (
    "SELECT one.room, one.accept_to_commit, one.commit_to_sent FROM"
    " (SELECT unnest(rooms) AS one FROM {few} WHERE event = 'interval') WHERE one.room IN (SELECT unnest(?))"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many are shown."""
    add_limit(parser, "rooms")


def run(log: Log, args: argparse.Namespace) -> list[Table]:
    """Return the rooms with the most messages."""
    few = log.few("rooms")
    logged = log.rows("SELECT 1 FROM lines WHERE event = 'message' LIMIT 1")
    every = _FROM_INTERVALS.format(few=few)
    if logged:
        every = (
            "SELECT room, m.messages, i.deliveries, m.people, m.text_bytes, m.first, m.last"
            f" FROM ({_FROM_MESSAGES}) m LEFT JOIN ({every}) i USING (room)"
        )
    found = log.rows(
        f"SELECT *, count(*) OVER () FROM ({every}) ORDER BY messages DESC, room LIMIT {args.limit}"
    )
    payloads = log.rows(_LATENCIES.format(few=few), [row[0] for row in found])
    commit = Histogram.merge_groups((room, payload) for room, payload, _ in payloads)
    sent = Histogram.merge_groups((room, payload) for room, _, payload in payloads)
    none = Histogram()
    rows = [
        (
            *row[:5],
            *(of.get(row[0], none).percentile(percent) for of in (commit, sent) for percent in (50, 99)),
            *row[5:7],
        )
        for row in found
    ]
    notes = [_EVERY if logged else _BUSIEST]
    if found and found[0][-1] > len(found):
        notes.append(f"{len(found)} of {found[0][-1]:,} rooms; --limit shows more.")
    columns = (
        Column("room", "room", "text"),
        Column("messages", "messages", "count"),
        Column("deliveries", "deliveries", "count", "While the room was among the ten busiest", aside=2),
        Column("people", "writers", "count", "Different usernames that wrote"),
        Column("text_bytes", "text", "bytes", aside=2),
        Column("accept_to_commit_p50_us", "commit p50", "us"),
        Column("accept_to_commit_p99_us", "commit p99", "us"),
        Column("commit_to_sent_p50_us", "sent p50", "us"),
        Column("commit_to_sent_p99_us", "sent p99", "us"),
        Column("first", "first (UTC)", "time", aside=2),
        Column("last", "last (UTC)", "time", aside=2),
    )
    return [Table("rooms", "Rooms", columns, rows, notes if rows else [])]
