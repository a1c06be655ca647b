"""All that is on the page: its head, its key figures, and what the browser filters and draws.

Knows which reports belong on the page. Must not know HTML. Figures and tables are the reports' own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import Log
from chat_ops.output.formatting import duration, visible, word
from chat_ops.page import annotations, histograms
from chat_ops.page import series as page_series
from chat_ops.page import tables as page_tables
from chat_ops.table import Column, Table

NOTHING: Final = "\N{EN DASH}"
"""Shown where a figure is not in the log."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure; the browser may compute it again for what is filtered, by its name."""

    name: str
    title: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What the page is made of; `embedded` is for its scripts."""

    head: Mapping[str, Any]
    tiles: Sequence[Tile]
    tables: Sequence[page_tables.Shown]
    filters: Sequence[str]
    embedded: Mapping[str, Any]


def page(log: Log) -> Page:
    """Ask the reports, and return what is on the page."""
    summary = {table.name: table for table in page_tables.ask("summary", log)}
    nodes = page_series.nodes(log)
    width = page_series.width(log, len(nodes.names))
    series = page_series.Series.of(log, width, nodes)
    tables = page_tables.tables(log)
    period = _only(summary["period"])
    head = {
        "first": period.get("first"),
        "last": period.get("last"),
        "lasting": duration(period["lasting_s"]) if period.get("lasting_s") is not None else "",
        "nodes": [visible(node) for node in nodes.names],
        "more_nodes": nodes.more,
        "files": len(log.sources),
        "lines": period.get("lines") or 0,
        "bad": log.bad,
        "dropped": period.get("dropped_lines") or 0,
        "starts": period.get("starts") or 0,
        "stops": period.get("stops") or 0,
        "step": time_buckets.named(width),
    }
    shown = [one for one in tables if one.table.rows]
    return Page(
        head,
        _tiles(summary),
        shown,
        _filters(log),
        {
            "step": width,
            "step_name": time_buckets.named(width),
            "first": page_tables.millis(period.get("first")),
            "last": page_tables.millis(period.get("last")),
            "nodes": head["nodes"],
            **series.embedded(),
            "histograms": histograms.embedded(log, series),
            "marks": annotations.marks(log, tables),
            "tables": [one.embedded() for one in shown],
        },
    )


def _tiles(summary: Mapping[str, Table]) -> list[Tile]:
    activity, machine = (_only(summary[name]) for name in ("activity", "machine"))
    columns = {column.name: column for name in ("activity", "machine") for column in summary[name].columns}
    trouble = summary["trouble"]
    answered = sum(row[2] for row in trouble.rows if row[0] == "answered")
    p99 = {row[0]: row[4] for row in summary["latency"].rows}
    p50 = {row[0]: row[2] for row in summary["latency"].rows}

    def told(name: str) -> str:
        value = {**activity, **machine}.get(name)
        return word(value, columns[name].kind) if value is not None else NOTHING

    def latency(name: str, title: str, figure: str) -> Tile:
        value = p99.get(figure)
        return Tile(
            name,
            title,
            word(value, "us") if value is not None else NOTHING,
            f"p50 {word(p50[figure], 'us')}" if value is not None else "",
        )

    return [
        Tile("messages", "messages", told("messages"), f"{told('messages_per_s')} a second on average"),
        Tile("deliveries", "deliveries", told("deliveries"), f"{told('bytes_out')} sent"),
        Tile("peak", "sessions at once, at most", told("peak_sessions"), _at(activity.get("peak_at"))),
        Tile(
            "opened", "sessions opened", told("opened"), f"{told('users')} users, {told('resumed')} resumed"
        ),
        latency("accept_to_commit", "accept to commit, p99", "accept to commit"),
        latency("commit_to_sent", "commit to sent, p99", "commit to sent"),
        latency("rtt", "round trip, p99", "round trip"),
        Tile("errors", "errors answered", word(answered, "count"), "to peers", bad=bool(answered)),
        Tile("refused", "connections refused", told("refused"), "before they were sessions"),
        Tile(
            "lagging",
            "slow readers at once",
            told("lagging_max"),
            "fed from the log",
            bad=bool(machine.get("lagging_max")),
        ),
        Tile("lag", "longest loop lag", told("loop_lag_max_ms"), _at(machine.get("loop_lag_at"))),
        Tile("rss", "most memory", told("rss_max_bytes"), "of a node"),
    ]


def _at(moment: datetime | None) -> str:
    return f"at {moment:%H:%M:%S} UTC" if moment else ""


def _only(table: Table) -> dict[str, Any]:
    """Return the only row of an upright table by its columns' names."""
    if not table.rows:
        return {}
    names: Sequence[Column] = table.columns
    return {column.name: value for column, value in zip(names, table.rows[0], strict=True)}


def _filters(log: Log) -> list[str]:
    """Say which lines were asked for when the page was made; names are left out of an anonymous page."""
    told = log.filters
    found = []
    if told.since:
        found.append(f"since {told.since:%Y-%m-%d %H:%M:%S}")
    if told.until:
        found.append(f"until {told.until:%Y-%m-%d %H:%M:%S}")
    for what, names in (
        ("room", (told.room,) if told.room else ()),
        ("user", told.users),
        ("node", told.nodes),
    ):
        if names:
            shown = "(masked)" if log.anonymous else ", ".join(visible(name) for name in names)
            found.append(f"{what} {shown}")
    return found
