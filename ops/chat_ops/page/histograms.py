"""Histograms for the browser, which adds them up for the time, the node and the rooms that are asked for.

Knows how they are made coarser and packed. Must not know plots. A bucket of the page is the 32nd part of a
power of two wide: 2.2 % of its value, where the log's own are exact to 0.1 %. Counts stay exact.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.output.formatting import visible
from chat_ops.page.series import Series
from chat_ops.stats.histogram import Histogram
from chat_server.vocabulary import HISTOGRAMS

PARTS: Final = 32
"""Buckets for each power of two."""
MOST_SLICES: Final = 400
"""Slices of time, of all nodes together; fewer where each node has its own."""
MOST_ROOMS: Final = 24
"""Rooms whose course is on the page: the busiest."""
ROOM_SLICES: Final = 60

_ROOM_ROWS: Final = (
    "SELECT {step} AS step, one.room AS room, one.messages AS messages, one.deliveries AS deliveries,"
    " one.accept_to_commit AS accept_to_commit, one.commit_to_sent AS commit_to_sent FROM"
    " (SELECT ts, interval_s, unnest(rooms) AS one FROM {few} WHERE event = 'interval')"
)


def embedded(log: Log, series: Series) -> dict[str, Any]:
    """Return histograms by scope (or room) and figure: for each slice its number and packed counts."""
    slices = max(MOST_SLICES // len(series.scopes), 20)
    per = max(-(-len(series.moments) // slices), 1)
    index = {moment: number for number, moment in enumerate(series.moments)}
    groups: dict[tuple[str, str, int], list[Histogram]] = {}
    for (scope, moment, figure), histogram in series.latencies.items():
        if scope in series.scopes and moment in index:
            groups.setdefault((scope, figure, index[moment] // per), []).append(histogram)
    found: dict[str, dict[str, list[Any]]] = {visible(scope): {} for scope in series.scopes}
    for (scope, figure, number), some in sorted(groups.items()):
        packed = pack(Histogram.total(some))
        found[visible(scope)].setdefault(figure, []).append([number, packed])
    return {"parts": PARTS, "per": per, "scopes": found, "rooms": _rooms(log, series.width, series.moments)}


def pack(histogram: Histogram) -> list[int]:
    """Return pairs of numbers: how far the bucket is from the one before, and its count."""
    highest, counts = histogram.buckets()
    if not len(counts):
        return []
    numbers = np.floor(np.log2(np.maximum(highest, 1.0)) * PARTS).astype(np.int64)
    places, starts = np.unique(numbers, return_index=True)
    sums = np.add.reduceat(counts, starts)
    steps = np.diff(places, prepend=0)
    return [int(one) for pair in zip(steps, sums, strict=True) for one in pair]


def _rooms(log: Log, width: int, moments: Sequence[datetime]) -> dict[str, Any]:
    """Return the course of the busiest rooms: counts by step, histograms by slice."""
    log.keep("page_rooms", _ROOM_ROWS.format(step=time_buckets.bucket(width), few=log.few()))
    ((every,),) = log.rows("SELECT count(DISTINCT room) FROM page_rooms")
    names = [
        name
        for (name,) in log.rows(
            "SELECT room FROM page_rooms WHERE room IS NOT NULL GROUP BY room"
            f" ORDER BY sum(messages) DESC NULLS LAST, room LIMIT {MOST_ROOMS}"
        )
    ]
    index = {moment: number for number, moment in enumerate(moments)}
    per = max(-(-len(moments) // ROOM_SLICES), 1)
    rooms: dict[str, dict[str, Any]] = {name: {"room": visible(name), "counts": []} for name in names}
    wanted = "room IN (SELECT unnest(?))"
    for name, moment, messages, deliveries in log.rows(
        "SELECT room, step, sum(messages)::BIGINT, sum(deliveries)::BIGINT FROM page_rooms"
        f" WHERE {wanted} GROUP BY 1, 2 ORDER BY 1, 2",
        names,
    ):
        if moment in index:
            rooms[name]["counts"].append([index[moment], messages or 0, deliveries or 0])
    for figure in HISTOGRAMS[:2]:  # a room has no round trips
        payloads = log.rows(
            f"SELECT room, step, {figure} FROM page_rooms WHERE {figure} IS NOT NULL AND {wanted}"
            " ORDER BY step",
            names,
        )
        merged = Histogram.merge_groups(
            ((name, index[moment] // per), payload) for name, moment, payload in payloads if moment in index
        )
        for (name, number), histogram in merged.items():
            rooms[name].setdefault(figure, []).append([number, pack(histogram)])
    return {"every": every, "per": per, "list": list(rooms.values())}
