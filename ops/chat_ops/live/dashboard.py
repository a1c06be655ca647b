"""Renders a `ServerSnapshot` with rich: one screen, or one line per interval.

All text from the log MUST go through `escape_unprintable`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.live.snapshot import PERCENTILE_INTERVALS, LogInterval, ServerSnapshot, ShownEvent
from chat_ops.output.formatting import escape_unprintable, format_bytes, format_duration, format_value
from chat_ops.output.spark import sparkline
from chat_server.vocabulary import HISTOGRAMS

_STYLES: Final = {"warning": "yellow", "error": "red", "critical": "bold red"}
_LABEL_COLUMNS: Final = 18
_VALUE_COLUMNS: Final = 26
_MAX_SLOW_READERS: Final = 5
_LOW_SCREEN_LINES: Final = 30
"""On a terminal with fewer lines, some rows are left out."""


def render_screen(
    snapshot: ServerSnapshot, title: str, status: str, width: int, height: int
) -> RenderableType:
    """Return the screen for a terminal of `width` columns and `height` lines."""
    low = height < _LOW_SCREEN_LINES
    bars = max(10, width - _LABEL_COLUMNS - _VALUE_COLUMNS - 4)
    parts: list[RenderableType] = [_headline(snapshot, title, status, width)]
    if not snapshot.nodes:
        parts.append(
            Text("\nno interval yet: the server logs one every --log-interval seconds (10)", style="dim")
        )
    else:
        parts += [Text(), _metrics_grid(snapshot, bars), Text(), _latency_grid(snapshot, bars, low=low)]
    slow = _slow_readers_grid(snapshot, 2 if low else _MAX_SLOW_READERS)
    if slow is not None:
        parts += [Text(), slow]
    used = (16 if low else 19) + (len(slow.rows) + 1 if slow is not None else 0)
    parts += [Text(), _events(snapshot, max(1, height - used), width)]
    return Group(*parts)


def format_interval(interval: LogInterval) -> str:
    """Return an interval as one line of text, for output that is not a terminal."""
    words = [
        f"{interval.at:%Y-%m-%d %H:%M:%S}",
        escape_unprintable(interval.node) or "-",
        f"{interval.sessions} sessions",
        f"{format_value(interval.messages, 'rate')} msg/s in",
        f"{format_value(interval.deliveries, 'rate')} msg/s out",
    ]
    for name, said in zip(HISTOGRAMS, ("commit", "sent", "rtt"), strict=True):
        if (p99 := interval.p99.get(name)) is not None:
            words.append(f"{said} p99 {format_value(p99, 'us')}")
    words += [f"{interval.errors} errors", f"{interval.refused} refused", f"{interval.lagging} lagging"]
    return ", ".join(words)


def _headline(snapshot: ServerSnapshot, title: str, status: str, width: int) -> Text:
    last = snapshot.history[-1].at if snapshot.history else None
    nodes = ", ".join(escape_unprintable(node) for node in snapshot.nodes)
    right = f"{f'{last:%H:%M:%S} UTC  ' if last else ''}{escape_unprintable(status)}"[:width]
    text = Text(f"{escape_unprintable(title)}  {nodes}", style="bold", no_wrap=True)
    text.truncate(max(0, width - len(right) - 2), overflow="ellipsis")
    text.append(" " * max(0, width - text.cell_len - len(right)))
    text.append(right, style="dim")
    return text


def _grid() -> Grid:
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(width=_LABEL_COLUMNS, no_wrap=True)
    grid.add_column(width=_VALUE_COLUMNS, no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, style="cyan")
    return grid


def _metrics_grid(snapshot: ServerSnapshot, bars: int) -> Grid:
    history = list(snapshot.history)
    grid = _grid()

    def row(label: str, value: str, of: Callable[[LogInterval], float], style: str = "") -> None:
        grid.add_row(label, Text(value, style=style), sparkline([of(one) for one in history][-bars:]))

    new = f" (+{snapshot.opened} -{snapshot.closed})" if snapshot.opened or snapshot.closed else ""
    held = f", {snapshot.total('held'):.0f} held" if snapshot.total("held") else ""
    row("sessions", f"{snapshot.total('sessions'):,.0f}{held}{new}", lambda one: one.sessions)
    into, out = snapshot.total("bytes_in"), snapshot.total("bytes_out")
    row(
        "messages in",
        f"{format_value(snapshot.total('messages'), 'rate')}  {format_bytes(into)}/s",
        lambda one: one.messages,
    )
    row(
        "delivered",
        f"{format_value(snapshot.total('deliveries'), 'rate')}  {format_bytes(out)}/s",
        lambda one: one.deliveries,
    )
    errors = snapshot.total("errors")
    row(
        "errors",
        f"{errors:.0f}  {_format_kinds(snapshot.errors.most_common(1))}",
        lambda one: one.errors,
        "red" if errors else "",
    )
    refused = snapshot.total("refused")
    row("refused", f"{refused:.0f}", lambda one: one.refused, "red" if refused else "")
    lagging = snapshot.total("lagging")
    row("slow readers", f"{lagging:.0f}", lambda one: one.lagging, "yellow" if lagging else "")
    lag = max(one.loop_lag_ms for one in snapshot.nodes.values())
    row(
        "loop lag, most",
        format_duration(lag / 1000),
        lambda one: one.loop_lag_ms,
        "yellow" if lag > 200 else "",
    )
    return grid


def _latency_grid(snapshot: ServerSnapshot, bars: int, *, low: bool) -> Grid:
    grid = _grid()
    of_which = f", last {PERCENTILE_INTERVALS}" if low else ""
    grid.add_row(Text(f"latency{of_which}", style="bold"), Text("p50 / p99 / p99.9", style="dim"), "")
    # On a low screen there is one row: the last interval alone is often empty.
    shown = ((True, PERCENTILE_INTERVALS),) if low else ((True, 1), (False, PERCENTILE_INTERVALS))
    for name in HISTOGRAMS:
        for named, last in shown:
            histogram = snapshot.latency(name, last)
            values = [histogram.percentile(of) for of in (50, 99, 99.9)]
            percentiles = " / ".join("-" if value is None else format_value(value, "us") for value in values)
            shape: Sequence[float | None] = [one.p99.get(name) for one in snapshot.history] if named else []
            grid.add_row(
                name if named else f"  last {PERCENTILE_INTERVALS}", percentiles, sparkline(shape[-bars:])
            )
    return grid


def _slow_readers_grid(snapshot: ServerSnapshot, limit: int) -> Grid | None:
    if not snapshot.slow_readers:
        return None
    grid = Grid.grid(padding=(0, 2))
    grid.add_row(
        Text("slow readers", style="bold"), Text(f"{len(snapshot.slow_readers)} lag", style="dim"), "", ""
    )
    for one in sorted(snapshot.slow_readers.values(), key=lambda reader: -reader.behind)[:limit]:
        behind = f"{one.behind:,} behind"
        grid.add_row(
            escape_unprintable(one.username),
            escape_unprintable(one.address),
            behind,
            f"since {one.since:%H:%M:%S}",
        )
    return grid


def _events(snapshot: ServerSnapshot, limit: int, width: int) -> Group:
    bad = f"   {snapshot.bad_lines} lines are not log lines" if snapshot.bad_lines else ""
    lines: list[RenderableType] = [Text.assemble(("events", "bold"), (bad, "red"))]
    lines += [_event(event, width) for event in list(snapshot.events)[-limit:]]
    return Group(*lines)


def _event(shown: ShownEvent, width: int) -> Text:
    fields = "  ".join(f"{key}={value}" for key, value in shown.fields.items())
    text = Text(_clock(shown.at), style="dim", no_wrap=True, overflow="ellipsis")
    text.append(f" {escape_unprintable(shown.event)}", style=_STYLES.get(shown.level, "green"))
    text.append(f"  {escape_unprintable(fields)}", style="default")
    text.truncate(width, overflow="ellipsis")
    return text


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"


def _format_kinds(counts: Sequence[tuple[str, int]]) -> str:
    return " ".join(f"({escape_unprintable(kind)[:12]} {count:,})" for kind, count in counts)
