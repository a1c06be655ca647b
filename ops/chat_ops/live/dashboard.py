"""A screen that shows how a server is doing now.

Knows rich and `Present`. Must not know files, keys nor time's passing. All text of the log goes through
`visible`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from chat_ops.live.snapshot import LAST, Interval, Present, Told
from chat_ops.output.formatting import duration, size, visible, word
from chat_ops.output.spark import spark
from chat_server.vocabulary import HISTOGRAMS

_STYLES: Final = {"warning": "yellow", "error": "red", "critical": "bold red"}
_LABEL: Final = 18
_VALUE: Final = 26
_MOST_SLOW: Final = 5
_LOW: Final = 30
"""Lines of a terminal under which some are left out."""


def screen(present: Present, title: str, status: str, width: int, height: int) -> RenderableType:
    """Return what fills a terminal of this size."""
    low = height < _LOW
    bars = max(10, width - _LABEL - _VALUE - 4)
    parts: list[RenderableType] = [_headline(present, title, status, width)]
    if not present.nodes:
        parts.append(
            Text("\nno interval yet: the server writes one each --log-interval seconds (10)", style="dim")
        )
    else:
        parts += [Text(), _figures(present, bars), Text(), _latency(present, bars, low=low)]
    slow = _slow(present, 2 if low else _MOST_SLOW)
    if slow is not None:
        parts += [Text(), slow]
    used = (16 if low else 19) + (len(slow.rows) + 1 if slow is not None else 0)
    parts += [Text(), _events(present, max(1, height - used), width)]
    return Group(*parts)


def line(interval: Interval) -> str:
    """Return an interval in a line, for where there is no terminal."""
    words = [
        f"{interval.at:%Y-%m-%d %H:%M:%S}",
        visible(interval.node) or "-",
        f"{interval.sessions} sessions",
        f"{word(interval.messages, 'rate')} msg/s in",
        f"{word(interval.deliveries, 'rate')} msg/s out",
    ]
    for name, said in zip(HISTOGRAMS, ("commit", "sent", "rtt"), strict=True):
        if (p99 := interval.p99.get(name)) is not None:
            words.append(f"{said} p99 {word(p99, 'us')}")
    words += [f"{interval.errors} errors", f"{interval.refused} refused", f"{interval.lagging} lagging"]
    return ", ".join(words)


def _headline(present: Present, title: str, status: str, width: int) -> Text:
    last = present.history[-1].at if present.history else None
    nodes = ", ".join(visible(node) for node in present.nodes)
    right = f"{f'{last:%H:%M:%S} UTC  ' if last else ''}{visible(status)}"[:width]
    text = Text(f"{visible(title)}  {nodes}", style="bold", no_wrap=True)
    text.truncate(max(0, width - len(right) - 2), overflow="ellipsis")
    text.append(" " * max(0, width - text.cell_len - len(right)))
    text.append(right, style="dim")
    return text


def _grid() -> Grid:
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(width=_LABEL, no_wrap=True)
    grid.add_column(width=_VALUE, no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, style="cyan")
    return grid


def _figures(present: Present, bars: int) -> Grid:
    history = list(present.history)
    grid = _grid()

    def row(label: str, value: str, of: Callable[[Interval], float], style: str = "") -> None:
        grid.add_row(label, Text(value, style=style), spark([of(one) for one in history][-bars:]))

    new = f" (+{present.opened} -{present.closed})" if present.opened or present.closed else ""
    held = f", {present.total('held'):.0f} held" if present.total("held") else ""
    row("sessions", f"{present.total('sessions'):,.0f}{held}{new}", lambda one: one.sessions)
    into, out = present.total("bytes_in"), present.total("bytes_out")
    row("messages in", f"{word(present.total('messages'), 'rate')}  {size(into)}/s", lambda one: one.messages)
    row(
        "delivered",
        f"{word(present.total('deliveries'), 'rate')}  {size(out)}/s",
        lambda one: one.deliveries,
    )
    errors = present.total("errors")
    row(
        "errors",
        f"{errors:.0f}  {_kinds(present.errors.most_common(1))}",
        lambda one: one.errors,
        "red" if errors else "",
    )
    refused = present.total("refused")
    row("refused", f"{refused:.0f}", lambda one: one.refused, "red" if refused else "")
    lagging = present.total("lagging")
    row("slow readers", f"{lagging:.0f}", lambda one: one.lagging, "yellow" if lagging else "")
    lag = max(one.loop_lag_ms for one in present.nodes.values())
    row("loop lag, most", duration(lag / 1000), lambda one: one.loop_lag_ms, "yellow" if lag > 200 else "")
    return grid


def _latency(present: Present, bars: int, *, low: bool) -> Grid:
    grid = _grid()
    of_which = f", last {LAST}" if low else ""
    grid.add_row(Text(f"latency{of_which}", style="bold"), Text("p50 / p99 / p99.9", style="dim"), "")
    # On a low screen the last interval alone would often have nothing to show.
    shown = ((True, LAST),) if low else ((True, 1), (False, LAST))
    for name in HISTOGRAMS:
        for named, last in shown:
            histogram = present.latency(name, last)
            values = [histogram.percentile(of) for of in (50, 99, 99.9)]
            said = " / ".join("-" if value is None else word(value, "us") for value in values)
            shape: Sequence[float | None] = [one.p99.get(name) for one in present.history] if named else []
            grid.add_row(name if named else f"  last {LAST}", said, spark(shape[-bars:]))
    return grid


def _slow(present: Present, most: int) -> Grid | None:
    if not present.slow:
        return None
    grid = Grid.grid(padding=(0, 2))
    grid.add_row(Text("slow readers", style="bold"), Text(f"{len(present.slow)} lag", style="dim"), "", "")
    for one in sorted(present.slow.values(), key=lambda reader: -reader.behind)[:most]:
        behind = f"{one.behind:,} behind"
        grid.add_row(visible(one.username), visible(one.address), behind, f"since {one.since:%H:%M:%S}")
    return grid


def _events(present: Present, most: int, width: int) -> Group:
    bad = f"   {present.bad} lines are no log lines" if present.bad else ""
    lines: list[RenderableType] = [Text.assemble(("events", "bold"), (bad, "red"))]
    lines += [_event(told, width) for told in list(present.events)[-most:]]
    return Group(*lines)


def _event(told: Told, width: int) -> Text:
    said = "  ".join(f"{key}={value}" for key, value in told.fields.items())
    text = Text(_clock(told.at), style="dim", no_wrap=True, overflow="ellipsis")
    text.append(f" {visible(told.event)}", style=_STYLES.get(told.level, "green"))
    text.append(f"  {visible(said)}", style="default")
    text.truncate(width, overflow="ellipsis")
    return text


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"


def _kinds(counts: Sequence[tuple[str, int]]) -> str:
    return " ".join(f"({visible(kind)[:12]} {count:,})" for kind, count in counts)
