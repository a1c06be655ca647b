"""Histograms for the browser, which merges them for the filtered period, node and rooms.

The page has 32 buckets per power of two, each 2.2 % wide; the log's own are exact to 0.1 %. Counts stay
exact.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import escape_unprintable
from chat_ops.page.series import Series
from chat_ops.stats.histogram import SparseHistogram
from chat_server.vocabulary import HISTOGRAMS

BUCKETS_PER_OCTAVE: Final = 32
"""Buckets for each power of two."""
MAX_SLICES: Final = 400
"""Time slices of all nodes together; fewer if each node has its own."""
MAX_ROOMS: Final = 24
"""The busiest rooms, which have plots of their own."""
MAX_ROOM_SLICES: Final = 60

_ROOM_ROWS: Final = (
    "SELECT {step} AS step, one.room AS room, one.messages AS messages, one.deliveries AS deliveries,"
    " one.accept_to_commit AS accept_to_commit, one.commit_to_sent AS commit_to_sent FROM"
    " (SELECT ts, interval_s, unnest(rooms) AS one FROM {rare} WHERE event = 'interval')"
)


def embedded_histograms(log: EventLog, series: Series) -> dict[str, Any]:
    """Return histograms by scope (or room) and metric: number and packed counts of each slice."""
    slices = max(MAX_SLICES // len(series.scopes), 20)
    per = max(-(-len(series.step_starts) // slices), 1)
    index = {start: number for number, start in enumerate(series.step_starts)}
    groups: dict[tuple[str, str, int], list[SparseHistogram]] = {}
    for (scope, start, figure), histogram in series.latencies.items():
        if scope in series.scopes and start in index:
            groups.setdefault((scope, figure, index[start] // per), []).append(histogram)
    found: dict[str, dict[str, list[Any]]] = {escape_unprintable(scope): {} for scope in series.scopes}
    for (scope, figure, number), some in sorted(groups.items()):
        packed = pack_histogram(SparseHistogram.total(some))
        found[escape_unprintable(scope)].setdefault(figure, []).append([number, packed])
    return {
        "parts": BUCKETS_PER_OCTAVE,
        "per": per,
        "scopes": found,
        "rooms": _rooms(log, series.width, series.step_starts),
    }


def pack_histogram(histogram: SparseHistogram) -> list[int]:
    """Return a flat list of pairs: distance from the previous bucket, and count."""
    highest, counts = histogram.buckets()
    if not len(counts):
        return []
    numbers = np.floor(np.log2(np.maximum(highest, 1.0)) * BUCKETS_PER_OCTAVE).astype(np.int64)
    places, starts = np.unique(numbers, return_index=True)
    sums = np.add.reduceat(counts, starts)
    steps = np.diff(places, prepend=0)
    return [int(one) for pair in zip(steps, sums, strict=True) for one in pair]


def _rooms(log: EventLog, width: int, step_starts: Sequence[datetime]) -> dict[str, Any]:
    """Return the busiest rooms: counts by step, histograms by slice."""
    log.materialise(
        "page_rooms", _ROOM_ROWS.format(step=time_buckets.bucket_sql(width), rare=log.rare_events())
    )
    ((every,),) = log.rows("SELECT count(DISTINCT room) FROM page_rooms")
    names = [
        name
        for (name,) in log.rows(
            "SELECT room FROM page_rooms WHERE room IS NOT NULL GROUP BY room"
            f" ORDER BY sum(messages) DESC NULLS LAST, room LIMIT {MAX_ROOMS}"
        )
    ]
    index = {start: number for number, start in enumerate(step_starts)}
    per = max(-(-len(step_starts) // MAX_ROOM_SLICES), 1)
    rooms: dict[str, dict[str, Any]] = {
        name: {"room": escape_unprintable(name), "counts": []} for name in names
    }
    wanted = "room IN (SELECT unnest(?))"
    for name, start, messages, deliveries in log.rows(
        "SELECT room, step, sum(messages)::BIGINT, sum(deliveries)::BIGINT FROM page_rooms"
        f" WHERE {wanted} GROUP BY 1, 2 ORDER BY 1, 2",
        names,
    ):
        if start in index:
            rooms[name]["counts"].append([index[start], messages or 0, deliveries or 0])
    for figure in HISTOGRAMS[:2]:  # rooms have no round trips
        payloads = log.rows(
            f"SELECT room, step, {figure} FROM page_rooms WHERE {figure} IS NOT NULL AND {wanted}"
            " ORDER BY step",
            names,
        )
        merged = SparseHistogram.merge_groups(
            ((name, index[start] // per), payload) for name, start, payload in payloads if start in index
        )
        for (name, number), histogram in merged.items():
            rooms[name].setdefault(figure, []).append([number, pack_histogram(histogram)])
    return {"every": every, "per": per, "list": list(rooms.values())}
