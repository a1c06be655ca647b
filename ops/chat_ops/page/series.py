"""The course of the figures for the page's plots: a value for each step of time, of all nodes and of each.

Knows what an interval line tells. Must not know plots. Percentiles are of merged histograms; where several
nodes are shown together, of the merged histograms of all.
"""

# ruff: noqa: S608  SQL is put together from names of our own; what people give is a parameter or a literal

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.output.formatting import visible
from chat_ops.reports import timeline
from chat_ops.stats.histogram import Histogram
from chat_server.vocabulary import HISTOGRAMS

MOST_STEPS: Final = 2_000
"""Steps in a plot: more than its pixels."""
MOST_CELLS: Final = 6_000
"""Steps times nodes: some 30 figures each, so the page stays below a few MB."""
MOST_NODES: Final = 8
"""Nodes with plots of their own, those with the most intervals; all others are in the sum of all."""

_SUMS: Final = ("messages", "deliveries", "caught_up", "opened", "bytes_in", "bytes_out", "commits")
_LEVELS: Final = ("sessions", "held", "lagging", "queue_bytes", "rss_bytes", "store_bytes", "wal_bytes")
"""Each node has some of its own: of all nodes, the sum."""
_MAPS: Final = ("errors", "closed", "refused")
PERCENTILES: Final = {"p50": 50.0, "p99": 99.0, "p999": 99.9}

Key = tuple[str, datetime]
"""A node's name ("" for all nodes) and the first moment of a step."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes that are told apart, and how many more there are."""

    names: Sequence[str]
    more: int


def nodes(log: Log) -> Nodes:
    """Return the nodes of the log, those with the most lines of their own first."""
    found = log.rows(
        f"SELECT coalesce(node, '') FROM {log.few()} GROUP BY 1 ORDER BY count(*) DESC, 1"
    ) or log.rows("SELECT DISTINCT coalesce(node, '') FROM lines ORDER BY 1")
    names = [name for (name,) in found if name]
    return Nodes(sorted(names[:MOST_NODES]), max(len(names) - MOST_NODES, 0))


def width(log: Log, number: int) -> int:
    """Return the seconds of a step: as fine as the page may be, and no finer than the server's intervals."""
    finest = time_buckets.width_for(log, None, max(min(MOST_STEPS, MOST_CELLS // (number + 1)), 100))
    ((usual,),) = log.rows(f"SELECT median(interval_s) FROM {log.few()} WHERE event = 'interval'")
    return next(
        (one for one in time_buckets.NICE if one >= max(finest, (usual or 0) - 0.5)), time_buckets.NICE[-1]
    )


@dataclass(frozen=True, slots=True)
class Series:
    """Values by step, for each of `scopes`: all nodes together (""), then, if there are several, each."""

    width: int
    moments: Sequence[datetime]
    scopes: Sequence[str]
    values: Mapping[str, Mapping[str, Sequence[Any]]]
    latencies: Mapping[tuple[str, datetime, str], Histogram]

    @classmethod
    def of(cls, log: Log, width: int, nodes: Nodes) -> Self:
        """Return the figures of the log."""
        scopes = ["", *nodes.names] if len(nodes.names) > 1 else [""]
        figures = _figures(log, width)
        if not figures:
            return cls._of_sessions(log, width)
        latencies = _latencies(log, width, scopes)
        moments = _moments(sorted({moment for _, moment in figures}), width)
        values = {
            scope: _columns(
                [figures.get((scope, moment), {}) for moment in moments],
                [{name: latencies.get((scope, moment, name)) for name in HISTOGRAMS} for moment in moments],
            )
            for scope in scopes
        }
        return cls(width, moments, scopes, values, latencies)

    @classmethod
    def _of_sessions(cls, log: Log, width: int) -> Self:
        """Return what the lines of sessions and messages tell, where there are no intervals (--user)."""
        names = [column.name for column in timeline.COLUMNS]
        rows = timeline.steps(log, width, {})
        kept = ("opened", "messages", "bytes_out")
        columns = {name: [row[names.index(name)] for row in rows] for name in kept}
        seconds = [width] * len(rows)
        return cls(width, [row[0] for row in rows], [""], {"": {**columns, "seconds": seconds}}, {})

    def embedded(self) -> dict[str, Any]:
        """Return the values as the page's scripts read them; times in seconds since 1970."""
        return {
            "times": [seconds(moment) for moment in self.moments],
            "series": {visible(scope): dict(columns) for scope, columns in self.values.items()},
        }


def seconds(moment: datetime) -> int:
    """Return a time in UTC, which has no zone of its own, as seconds since 1970."""
    return round(moment.replace(tzinfo=UTC).timestamp())


def _moments(found: Sequence[datetime], width: int) -> list[datetime]:
    """Return all steps from the first to the last, unless a stray line years away would make too many."""
    step = timedelta(seconds=width)
    number = (found[-1] - found[0]) // step + 1
    if number > MOST_STEPS + 1:
        return list(found[: MOST_STEPS + 1])
    return [found[0] + n * step for n in range(number)]


def _figures(log: Log, width: int) -> dict[Key, dict[str, Any]]:
    """Return what the intervals count, by node and step, and of all nodes together."""
    few, step = log.few(), time_buckets.bucket(width)
    sums = ", ".join(f"sum({name})::BIGINT" for name in _SUMS)
    levels = ", ".join(f"max({name})" for name in _LEVELS)
    names = ("seconds", *_SUMS, *_LEVELS, "free_bytes", "loop_lag_max_ms")
    found: dict[Key, dict[str, Any]] = {}
    for moment, node, *values in log.rows(
        f"SELECT {step}, coalesce(node, ''), sum(interval_s::DECIMAL(28, 6))::DOUBLE, {sums}, {levels},"
        f" min(free_bytes), max(loop_lag_max_ms) FROM {few} WHERE event = 'interval' GROUP BY 1, 2"
    ):
        told = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        found[node or "?", moment] = told
        every = found.setdefault(("", moment), {})
        for name, value in told.items():
            if name in _SUMS or name in _LEVELS:
                every[name] = every.get(name, 0) + value
            else:
                every[name] = (min if name == "free_bytes" else max)(every.get(name, value), value)
    for name in _MAPS:
        for moment, node, word, count in log.rows(
            f"SELECT step, node, one.key, sum(one.value)::BIGINT FROM (SELECT {step} AS step,"
            f" coalesce(node, '') AS node, unnest(map_entries({name})) AS one FROM {few}"
            " WHERE event = 'interval') GROUP BY ALL ORDER BY ALL"
        ):
            for scope in (node or "?", ""):
                words = found[scope, moment].setdefault(name, {})
                words[word] = words.get(word, 0) + (count or 0)
    return found


def _latencies(log: Log, width: int, scopes: Sequence[str]) -> dict[tuple[str, datetime, str], Histogram]:
    few, step = log.few(), time_buckets.bucket(width)
    union = " UNION ALL ".join(
        f"SELECT coalesce(node, ''), {step}, '{name}', {name} FROM {few} WHERE {name} IS NOT NULL"
        for name in HISTOGRAMS
    )
    rows = log.rows(union)
    parts = Histogram.merge_groups(
        ((node if len(scopes) > 1 else "", moment, name), payload) for node, moment, name, payload in rows
    )
    if len(scopes) == 1:
        return parts
    together: dict[tuple[str, datetime, str], list[Histogram]] = {}
    for (_, moment, name), histogram in parts.items():
        together.setdefault(("", moment, name), []).append(histogram)
    return {**parts, **{key: Histogram.total(some) for key, some in together.items()}}


def _columns(
    figures: Sequence[Mapping[str, Any]], latencies: Sequence[Mapping[str, Histogram | None]]
) -> dict[str, Sequence[Any]]:
    """Return the values by column; what no step has is left out. Counts by word: steps and counts."""
    columns: dict[str, Any] = {}
    for name in ("seconds", *_SUMS, *_LEVELS, "free_bytes", "loop_lag_max_ms"):
        values = [_short(one.get(name)) for one in figures]
        if any(value is not None for value in values):
            columns[name] = values
    for name in _MAPS:
        words: dict[str, list[list[int]]] = {}
        for number, one in enumerate(figures):
            for word, count in one.get(name, {}).items():
                words.setdefault(visible(word), []).append([number, count])
        columns[name] = words
    for figure in HISTOGRAMS:
        if any(one[figure] for one in latencies):
            for which, percent in PERCENTILES.items():
                columns[f"{figure}_{which}"] = [
                    _short(histogram.percentile(percent)) if (histogram := one[figure]) else None
                    for one in latencies
                ]
    return columns


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
