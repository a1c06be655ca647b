"""Content of the HTML page: head, key figures, tables and the data of the plots, all from the reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chat_ops.log import time_buckets
from chat_ops.log.event_log import EventLog
from chat_ops.output.formatting import escape_unprintable, format_duration, format_value
from chat_ops.page import annotations, histograms
from chat_ops.page import series as page_series
from chat_ops.page import tables as page_tables
from chat_ops.table import ReportColumn, ReportTable

NO_VALUE: Final = "\N{EN DASH}"
"""Shown for a value that is not in the log."""


@dataclass(frozen=True, slots=True)
class PageTile:
    """A key figure; the browser recomputes it by its name when a filter is set."""

    name: str
    title: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class PageContent:
    """Content of the page; `embedded` is the data of its scripts."""

    head: Mapping[str, Any]
    tiles: Sequence[PageTile]
    tables: Sequence[page_tables.PageTable]
    filters: Sequence[str]
    embedded: Mapping[str, Any]


def build_page(log: EventLog) -> PageContent:
    """Run the reports and return the page's content."""
    summary = {table.name: table for table in page_tables.run_report("summary", log)}
    nodes = page_series.find_nodes(log)
    width = page_series.choose_step_width(log, len(nodes.names))
    series = page_series.Series.of(log, width, nodes)
    tables = page_tables.collect_tables(log)
    period = _only_row(summary["period"])
    head = {
        "first": period.get("first"),
        "last": period.get("last"),
        "lasting": format_duration(period["lasting_s"]) if period.get("lasting_s") is not None else "",
        "nodes": [escape_unprintable(node) for node in nodes.names],
        "more_nodes": nodes.more,
        "files": len(log.input_files),
        "lines": period.get("lines") or 0,
        "bad": log.bad_lines,
        "dropped": period.get("dropped_lines") or 0,
        "starts": period.get("starts") or 0,
        "stops": period.get("stops") or 0,
        "step": time_buckets.format_width(width),
    }
    shown = [one for one in tables if one.table.rows]
    return PageContent(
        head,
        _tiles(summary),
        shown,
        _describe_filters(log),
        {
            "step": width,
            "step_name": time_buckets.format_width(width),
            "first": page_tables.unix_millis(period.get("first")),
            "last": page_tables.unix_millis(period.get("last")),
            "nodes": head["nodes"],
            **series.embedded(),
            "histograms": histograms.embedded_histograms(log, series),
            "marks": annotations.time_marks(log, tables),
            "tables": [one.embedded() for one in shown],
        },
    )


def _tiles(summary: Mapping[str, ReportTable]) -> list[PageTile]:
    activity, machine = (_only_row(summary[name]) for name in ("activity", "machine"))
    columns = {column.name: column for name in ("activity", "machine") for column in summary[name].columns}
    trouble = summary["trouble"]
    answered = sum(row[2] for row in trouble.rows if row[0] == "answered")
    p99 = {row[0]: row[4] for row in summary["latency"].rows}
    p50 = {row[0]: row[2] for row in summary["latency"].rows}

    def value_of(name: str) -> str:
        value = {**activity, **machine}.get(name)
        return format_value(value, columns[name].kind) if value is not None else NO_VALUE

    def latency(name: str, title: str, figure: str) -> PageTile:
        value = p99.get(figure)
        return PageTile(
            name,
            title,
            format_value(value, "us") if value is not None else NO_VALUE,
            f"p50 {format_value(p50[figure], 'us')}" if value is not None else "",
        )

    return [
        PageTile(
            "messages", "messages", value_of("messages"), f"{value_of('messages_per_s')} a second on average"
        ),
        PageTile("deliveries", "deliveries", value_of("deliveries"), f"{value_of('bytes_out')} sent"),
        PageTile(
            "peak",
            "sessions at once, at most",
            value_of("peak_sessions"),
            _format_at(activity.get("peak_at")),
        ),
        PageTile(
            "opened",
            "sessions opened",
            value_of("opened"),
            f"{value_of('users')} users, {value_of('resumed')} resumed",
        ),
        latency("accept_to_commit", "accept to commit, p99", "accept to commit"),
        latency("commit_to_sent", "commit to sent, p99", "commit to sent"),
        latency("rtt", "round trip, p99", "round trip"),
        PageTile(
            "errors", "errors answered", format_value(answered, "count"), "to peers", bad=bool(answered)
        ),
        PageTile("refused", "connections refused", value_of("refused"), "before they were sessions"),
        PageTile(
            "lagging",
            "slow readers at once",
            value_of("lagging_max"),
            "fed from the log",
            bad=bool(machine.get("lagging_max")),
        ),
        PageTile(
            "lag", "longest loop lag", value_of("loop_lag_max_ms"), _format_at(machine.get("loop_lag_at"))
        ),
        PageTile("rss", "most memory", value_of("rss_max_bytes"), "of a node"),
    ]


def _format_at(time: datetime | None) -> str:
    return f"at {time:%H:%M:%S} UTC" if time else ""


def _only_row(table: ReportTable) -> dict[str, Any]:
    """Return the only row of a table as a dict by column name; empty if there is none."""
    if not table.rows:
        return {}
    names: Sequence[ReportColumn] = table.columns
    return {column.name: value for column, value in zip(names, table.rows[0], strict=True)}


def _describe_filters(log: EventLog) -> list[str]:
    """Return the filters that the page was made with; an anonymous page masks their names."""
    filters = log.filters
    found = []
    if filters.since:
        found.append(f"since {filters.since:%Y-%m-%d %H:%M:%S}")
    if filters.until:
        found.append(f"until {filters.until:%Y-%m-%d %H:%M:%S}")
    for what, names in (
        ("room", (filters.room,) if filters.room else ()),
        ("user", filters.users),
        ("node", filters.nodes),
    ):
        if names:
            shown = "(masked)" if log.anonymous else ", ".join(escape_unprintable(name) for name in names)
            found.append(f"{what} {shown}")
    return found
