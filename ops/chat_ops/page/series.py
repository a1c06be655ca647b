"""Time series for the page's plots: a value per time step, for all nodes together and for each.

Percentiles come from merged histograms, for several nodes from those of all.
"""

# ruff: noqa: S608  SQL is built from our own names; user input is a parameter or a literal

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import escape_unprintable
from chat_ops.reports import timeline
from chat_ops.stats.histogram import SparseHistogram
from chat_server.vocabulary import HISTOGRAMS

MAX_STEPS: Final = 2_000
"""Steps of a plot: more than its pixels."""
MAX_CELLS: Final = 6_000
"""Steps times nodes, of some 30 values each: keeps the page below a few MB."""
MAX_NODES: Final = 8
"""Nodes with plots of their own: those with the most lines. The sum includes all nodes."""

_SUMMED_FIELDS: Final = ("messages", "deliveries", "caught_up", "opened", "bytes_in", "bytes_out", "commits")
_GAUGE_FIELDS: Final = ("sessions", "held", "lagging", "queue_bytes", "rss_bytes", "store_bytes", "wal_bytes")
"""Gauges of a node; for all nodes together, their sum."""
_MAP_FIELDS: Final = ("errors", "closed", "refused")
PERCENTILES: Final = {"p50": 50.0, "p99": 99.0, "p999": 99.9}

NodeStep = tuple[str, datetime]
"""Name of a node ("" for all) and start of a step."""


@dataclass(frozen=True, slots=True)
class NodeNames:
    """The nodes with plots of their own, and the number of other nodes."""

    names: Sequence[str]
    more: int


def find_nodes(log: EventLog) -> NodeNames:
    """Return the nodes of the log with the most lines, sorted by name."""
    found = log.rows(
        f"SELECT coalesce(node, '') FROM {log.rare_events()} GROUP BY 1 ORDER BY count(*) DESC, 1"
    ) or log.rows("SELECT DISTINCT coalesce(node, '') FROM lines ORDER BY 1")
    names = [name for (name,) in found if name]
    return NodeNames(sorted(names[:MAX_NODES]), max(len(names) - MAX_NODES, 0))


def choose_step_width(log: EventLog, number: int) -> int:
    """Return the step width in seconds: as fine as the page's limits and the log interval allow."""
    finest = time_buckets.choose_width(log, None, max(min(MAX_STEPS, MAX_CELLS // (number + 1)), 100))
    ((usual,),) = log.rows(f"SELECT median(interval_s) FROM {log.rare_events()} WHERE event = 'interval'")
    return next(
        (one for one in time_buckets.ROUND_WIDTHS_S if one >= max(finest, (usual or 0) - 0.5)),
        time_buckets.ROUND_WIDTHS_S[-1],
    )


@dataclass(frozen=True, slots=True)
class Series:
    """Values by step for each scope: all nodes ("") and, if there are several, each node."""

    width: int
    step_starts: Sequence[datetime]
    scopes: Sequence[str]
    values: Mapping[str, Mapping[str, Sequence[Any]]]
    latencies: Mapping[tuple[str, datetime, str], SparseHistogram]

    @classmethod
    def of(cls, log: EventLog, width: int, nodes: NodeNames) -> Self:
        """Return the time series of the log."""
        scopes = ["", *nodes.names] if len(nodes.names) > 1 else [""]
        figures = _interval_metrics(log, width)
        if not figures:
            return cls._of_sessions(log, width)
        latencies = _latencies(log, width, scopes)
        starts = step_starts(sorted({start for _, start in figures}), width)
        values = {
            scope: _columns(
                [figures.get((scope, start), {}) for start in starts],
                [{name: latencies.get((scope, start, name)) for name in HISTOGRAMS} for start in starts],
            )
            for scope in scopes
        }
        return cls(width, starts, scopes, values, latencies)

    @classmethod
    def _of_sessions(cls, log: EventLog, width: int) -> Self:
        """Return the series from session and message lines, for a log without intervals (--user)."""
        names = [column.name for column in timeline.COLUMNS]
        rows = timeline.step_rows(log, width, {})
        kept = ("opened", "messages", "bytes_out")
        columns = {name: [row[names.index(name)] for row in rows] for name in kept}
        seconds = [width] * len(rows)
        return cls(width, [row[0] for row in rows], [""], {"": {**columns, "seconds": seconds}}, {})

    def embedded(self) -> dict[str, Any]:
        """Return the values for the page's scripts; times are Unix times in seconds."""
        return {
            "times": [unix_seconds(start) for start in self.step_starts],
            "series": {escape_unprintable(scope): dict(columns) for scope, columns in self.values.items()},
        }


def unix_seconds(time: datetime) -> int:
    """Return a UTC time without a zone as Unix time in seconds."""
    return round(time.replace(tzinfo=UTC).timestamp())


def step_starts(found: Sequence[datetime], width: int) -> list[datetime]:
    """Return the starts of all steps from first to last; if too many, the first ones with data."""
    step = timedelta(seconds=width)
    number = (found[-1] - found[0]) // step + 1
    if number > MAX_STEPS + 1:
        return list(found[: MAX_STEPS + 1])
    return [found[0] + n * step for n in range(number)]


def _interval_metrics(log: EventLog, width: int) -> dict[NodeStep, dict[str, Any]]:
    """Return the interval metrics by node and step, and for all nodes together."""
    rare, step = log.rare_events(), time_buckets.bucket_sql(width)
    sums = ", ".join(f"sum({name})::BIGINT" for name in _SUMMED_FIELDS)
    levels = ", ".join(f"max({name})" for name in _GAUGE_FIELDS)
    names = ("seconds", *_SUMMED_FIELDS, *_GAUGE_FIELDS, "free_bytes", "loop_lag_max_ms")
    found: dict[NodeStep, dict[str, Any]] = {}
    for start, node, *values in log.rows(
        f"SELECT {step}, coalesce(node, ''), sum(interval_s::DECIMAL(28, 6))::DOUBLE, {sums}, {levels},"
        f" min(free_bytes), max(loop_lag_max_ms) FROM {rare} WHERE event = 'interval' GROUP BY 1, 2"
    ):
        counted = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        found[node or "?", start] = counted
        every = found.setdefault(("", start), {})
        for name, value in counted.items():
            if name in _SUMMED_FIELDS or name in _GAUGE_FIELDS:
                every[name] = every.get(name, 0) + value
            else:
                every[name] = (min if name == "free_bytes" else max)(every.get(name, value), value)
    for name in _MAP_FIELDS:
        for start, node, word, count in log.rows(
            f"SELECT step, node, one.key, sum(one.value)::BIGINT FROM (SELECT {step} AS step,"
            f" coalesce(node, '') AS node, unnest(map_entries({name})) AS one FROM {rare}"
            " WHERE event = 'interval') GROUP BY ALL ORDER BY ALL"
        ):
            for scope in (node or "?", ""):
                words = found[scope, start].setdefault(name, {})
                words[word] = words.get(word, 0) + (count or 0)
    return found


def _latencies(
    log: EventLog, width: int, scopes: Sequence[str]
) -> dict[tuple[str, datetime, str], SparseHistogram]:
    rare, step = log.rare_events(), time_buckets.bucket_sql(width)
    union = " UNION ALL ".join(
        f"SELECT coalesce(node, ''), {step}, '{name}', {name} FROM {rare} WHERE {name} IS NOT NULL"
        for name in HISTOGRAMS
    )
    rows = log.rows(union)
    parts = SparseHistogram.merge_groups(
        ((node if len(scopes) > 1 else "", start, name), payload) for node, start, name, payload in rows
    )
    if len(scopes) == 1:
        return parts
    together: dict[tuple[str, datetime, str], list[SparseHistogram]] = {}
    for (_, start, name), histogram in parts.items():
        together.setdefault(("", start, name), []).append(histogram)
    return {**parts, **{key: SparseHistogram.total(some) for key, some in together.items()}}


def _columns(
    figures: Sequence[Mapping[str, Any]], latencies: Sequence[Mapping[str, SparseHistogram | None]]
) -> dict[str, Sequence[Any]]:
    """Return the values by column, without empty columns; maps as pairs of step number and count by key."""
    columns: dict[str, Any] = {}
    for name in ("seconds", *_SUMMED_FIELDS, *_GAUGE_FIELDS, "free_bytes", "loop_lag_max_ms"):
        values = [_round_to_5_digits(one.get(name)) for one in figures]
        if any(value is not None for value in values):
            columns[name] = values
    for name in _MAP_FIELDS:
        words: dict[str, list[list[int]]] = {}
        for number, one in enumerate(figures):
            for word, count in one.get(name, {}).items():
                words.setdefault(escape_unprintable(word), []).append([number, count])
        columns[name] = words
    for figure in HISTOGRAMS:
        if any(one[figure] for one in latencies):
            for which, percent in PERCENTILES.items():
                columns[f"{figure}_{which}"] = [
                    _round_to_5_digits(histogram.percentile(percent)) if (histogram := one[figure]) else None
                    for one in latencies
                ]
    return columns


def _round_to_5_digits(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
