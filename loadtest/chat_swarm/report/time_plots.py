"""Plots over time: each second of a run.

Beyond `MAX_POINTS` seconds, each point covers several: the maximum of their latencies, lags and CPU of the
generator; the mean of the rest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

from chat_swarm.model.metric_names import FAULTS
from chat_swarm.model.schema import TimelineRow
from chat_swarm.report.plotly_layout import (
    BLUE,
    GREEN,
    GREY,
    MARKED,
    ORANGE,
    PHASE,
    PURPLE,
    SKY,
    VERMILION,
    Plot,
    Spec,
    axis_title,
    layout,
    line_trace,
    linear_axis,
    log_ms_axis,
    second_axis,
)
from chat_swarm.report.series_styles import LINES, MARKED_OPACITY
from chat_swarm.results.finished_run import FinishedRun

MAX_POINTS: Final = 1800
_FAULT_COLOURS: Final = (VERMILION, PURPLE, BLUE, SKY, GREEN, ORANGE, MARKED, GREY)
_FAILURE_COLOURS: Final = {
    "errors": ORANGE,
    "connect_failures": PURPLE,
    "byes": SKY,
    "cuts": GREY,
    "not_resumed": GREEN,
    "untimed": BLUE,
}
_MIB_BYTES: Final = 2**20

Values = list[float | None]
RowReader = Callable[[TimelineRow], float | None]
_T = TypeVar("_T")


class TimeSeries:
    """The rows of a run as series of at most `MAX_POINTS` points."""

    def __init__(self, rows: Sequence[TimelineRow]) -> None:
        self.seconds_per_point = max(1, math.ceil(len(rows) / MAX_POINTS))
        self._groups = [
            rows[at : at + self.seconds_per_point] for at in range(0, len(rows), self.seconds_per_point)
        ]
        self.x: list[float] = [group[0].t for group in self._groups]

    def worst(self, take: RowReader) -> Values:
        """Return the maximum of each point's seconds; None where none has a value."""
        return [_round(max(values)) if (values := _values(group, take)) else None for group in self._groups]

    def mean(self, take: RowReader) -> Values:
        """Return the mean of each point's seconds; None where none has a value."""
        return [
            _round(sum(values) / len(values)) if (values := _values(group, take)) else None
            for group in self._groups
        ]

    def quantile(self, metric: str, part: str) -> Values:
        """Return a quantile of a latency, in ms."""
        return self.worst(
            lambda row: (
                max(getattr(short, part), 1) / 1000
                if (short := row.metrics.get(metric)) and short.count
                else None
            )
        )

    def count(self, name: str) -> Values:
        """Return a count, per second."""
        return self.mean(lambda row: row.counts.get(name, 0))


def _values(group: Sequence[TimelineRow], take: RowReader) -> list[float]:
    return [value for row in group if (value := take(row)) is not None]


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def plots(run: FinishedRun) -> Iterator[Plot]:
    """Yield all plots over time, in the order of the page."""
    if not run.rows:
        return
    seconds = TimeSeries(run.rows)
    backdrop = _Backdrop(run)
    yield from _latencies(seconds, backdrop)
    yield _rates(seconds, backdrop)
    yield _bots(seconds, backdrop)
    if any(row.server for row in run.rows):
        yield _server(seconds, backdrop)
    yield _generator(seconds, backdrop)
    yield _faults(run, seconds, backdrop)


class _Backdrop:
    """Background of all plots: phases, steps, marked seconds. A second spans t - 0.5 to t + 0.5."""

    def __init__(self, run: FinishedRun) -> None:
        rows = run.rows
        self.first, self.last = rows[0].t, rows[-1].t + 1
        self.shapes: list[Spec] = []
        self.notes: list[Spec] = []
        for phase, start, end in _spans(rows, lambda row: row.phase):
            if phase in {"ramp", "drain"}:
                self.shapes.append(_band(start, end, PHASE, 0.13))
            self.notes.append(_note(start, phase))
        for marked, start, end in _spans(rows, lambda row: bool(row.marked)):
            if marked:
                self.shapes.append(_band(start, end, MARKED, MARKED_OPACITY))
        steps = [(step.label, step.start) for step in run.summary.steps]
        if not steps:
            steps = [(step, start) for step, start, _ in _spans(rows, lambda row: row.step) if step]
        self.steps = [
            {
                "type": "line",
                "x0": start - 0.5,
                "x1": start - 0.5,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": PHASE, "width": 1, "dash": "dot"},
            }
            for _, start in steps
        ]
        self.labels = [_note(start, label, y=0.93) for label, start in steps] if len(steps) <= 24 else []

    def plot_layout(self, y: Spec, *, labels: bool = False, **more: object) -> Spec:
        """Return the layout of a plot over time, with this background."""
        x = {
            "title": axis_title("seconds since the run began"),
            "range": [self.first - 0.5, self.last - 0.5],
        }
        notes = [*self.notes, *self.labels] if labels else []
        return layout(x, y, shapes=[*self.shapes, *self.steps], annotations=notes, **more)


def _spans(rows: Sequence[TimelineRow], key: Callable[[TimelineRow], _T]) -> Iterator[tuple[_T, int, int]]:
    """Yield (value of `key`, start, end) for each run of equal values."""
    for value, group in groupby(rows, key):
        stretch = list(group)
        yield value, stretch[0].t, stretch[-1].t + 1


def _band(start: int, end: int, colour: str, opacity: float) -> Spec:
    return {
        "type": "rect",
        "x0": start - 0.5,
        "x1": end - 0.5,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "fillcolor": colour,
        "opacity": opacity,
        "line": {"width": 0},
        "layer": "below",
    }


def _note(start: int, text: str, y: float = 1.0) -> Spec:
    return {
        "x": start - 0.5,
        "y": y,
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "text": text.replace("<", "&lt;"),
        "showarrow": False,
        "font": {"size": 11, "color": PHASE},
    }


def _latencies(seconds: TimeSeries, backdrop: _Backdrop) -> Iterator[Plot]:
    delivery = {part: seconds.quantile("delivery", part) for part in ("p50", "p99", "p999", "max")}
    lag = seconds.quantile("bot_lag", "p99")
    of = (
        ""
        if seconds.seconds_per_point == 1
        else f" Each point is the maximum of {seconds.seconds_per_point} seconds."
    )
    yield Plot(
        id="delivery-time",
        title="Delivery, second by second",
        caption="Message sent → received, by kernel timestamps, at each receiver; dashed, for comparison,"
        f" how long the bots took to read what had arrived.{of}",
        time=True,
        wide=True,
        height=380,
        figure={
            "data": [
                line_trace(LINES["delivery_max"], seconds.x, delivery["max"], hovertemplate=_MS_HOVER),
                line_trace(LINES["delivery_p999"], seconds.x, delivery["p999"], hovertemplate=_MS_HOVER),
                line_trace(LINES["delivery_p99"], seconds.x, delivery["p99"], hovertemplate=_MS_HOVER),
                line_trace(LINES["delivery_p50"], seconds.x, delivery["p50"], hovertemplate=_MS_HOVER),
                line_trace(LINES["bot_lag_p99"], seconds.x, lag, hovertemplate=_MS_HOVER),
            ],
            "layout": backdrop.plot_layout(log_ms_axis([*delivery.values(), lag]), labels=True),
        },
    )


_SECOND_AXIS_RATIO: Final = 1.4  # the lines have the same shape: another scale keeps them apart
_MS_HOVER: Final = "%{y:.3~g} ms"
_RATE_HOVER: Final = "%{y:,.4~r} /s"


def _rates(seconds: TimeSeries, backdrop: _Backdrop) -> Plot:
    most = max((value or 0 for value in seconds.count("sent")), default=0) or 1
    return Plot(
        id="rates",
        title="Messages in, deliveries out",
        caption="Per second; sent (thin line) on the right axis.",
        time=True,
        figure={
            "data": [
                line_trace(
                    LINES["delivered"],
                    seconds.x,
                    seconds.count("delivered"),
                    hovertemplate=_RATE_HOVER,
                ),
                line_trace(
                    LINES["sent"],
                    seconds.x,
                    seconds.count("sent"),
                    yaxis="y2",
                    hovertemplate=_RATE_HOVER,
                ),
            ],
            "layout": backdrop.plot_layout(
                linear_axis("delivered, /s"),
                yaxis2=second_axis("sent, /s", range=[0, most * _SECOND_AXIS_RATIO]),
            ),
        },
    )


def _bots(seconds: TimeSeries, backdrop: _Backdrop) -> Plot:
    return Plot(
        id="connections",
        title="Connections",
        caption="Bots with a session, and bots started.",
        time=True,
        figure={
            "data": [
                line_trace(LINES["connected"], seconds.x, seconds.mean(lambda row: row.connected)),
                line_trace(LINES["bots"], seconds.x, seconds.mean(lambda row: row.bots)),
            ],
            "layout": backdrop.plot_layout(linear_axis("connections")),
        },
    )


def _server(seconds: TimeSeries, backdrop: _Backdrop) -> Plot:
    return Plot(
        id="server",
        title="The server, from outside",
        caption="CPU of its process; resident memory (dotted) on the right axis.",
        time=True,
        figure={
            "data": [
                line_trace(
                    LINES["server_cpu"],
                    seconds.x,
                    seconds.mean(lambda row: row.server.cpu if row.server else None),
                    hovertemplate="%{y:.2f} cores",
                ),
                line_trace(
                    LINES["server_rss"],
                    seconds.x,
                    seconds.mean(lambda row: row.server.rss_bytes / _MIB_BYTES if row.server else None),
                    yaxis="y2",
                    hovertemplate="%{y:.1f} MiB",
                ),
            ],
            "layout": backdrop.plot_layout(linear_axis("cores"), yaxis2=second_axis("MiB")),
        },
    )


def _generator(seconds: TimeSeries, backdrop: _Backdrop) -> Plot:
    return Plot(
        id="generator",
        title="The generator itself",
        caption="CPU of its busiest process, and of all programs except it and the server; loop lag (dotted)"
        " on the right axis: how far it was from being the bottleneck.",
        time=True,
        figure={
            "data": [
                line_trace(
                    LINES["cpu"],
                    seconds.x,
                    seconds.worst(lambda row: row.cpu),
                    hovertemplate="%{y:.2f} cores",
                ),
                line_trace(
                    LINES["others_cpu"],
                    seconds.x,
                    seconds.mean(lambda row: row.machine.others if row.machine else None),
                    hovertemplate="%{y:.2f} cores",
                ),
                line_trace(
                    LINES["loop_lag_max"],
                    seconds.x,
                    seconds.worst(lambda row: row.loop_lag_max_us / 1000),
                    yaxis="y2",
                    hovertemplate=_MS_HOVER,
                ),
            ],
            "layout": backdrop.plot_layout(linear_axis("cores"), yaxis2=second_axis("ms")),
        },
    )


def _faults(run: FinishedRun, seconds: TimeSeries, backdrop: _Backdrop) -> Plot:
    """Return the plot of faults and failures; an empty one says that there were none."""
    data = []
    for name, colour in zip(FAULTS, _FAULT_COLOURS, strict=True):
        if any(row.faults.get(name) for row in run.rows):
            values = seconds.mean(lambda row, name=name: row.faults.get(name, 0))  # type: ignore[misc]
            data.append(
                {"type": "bar", "name": name, "x": seconds.x, "y": values, "marker": {"color": colour}}
            )
    for name, colour in _FAILURE_COLOURS.items():
        if any(row.counts.get(name) for row in run.rows):
            values = seconds.count(name)
            shown = name.replace("_", " ")
            data.append(
                {"type": "bar", "name": shown, "x": seconds.x, "y": values, "marker": {"color": colour}}
            )
    axis = linear_axis("per second", **({} if data else {"range": [0, 1], "showticklabels": False}))
    frame = backdrop.plot_layout(axis, barmode="stack", showlegend=True)
    if not data:
        frame["annotations"] = [_NO_FAULTS_NOTE]
    return Plot(
        id="faults",
        title="Faults and errors",
        caption="Faults found by the audit, errors, and lost connections, per second.",
        time=True,
        wide=True,
        height=230,
        figure={"data": data, "layout": frame},
    )


_NO_FAULTS_NOTE: Final[Spec] = {
    "text": "no faults, no errors",
    "xref": "paper",
    "yref": "paper",
    "x": 0.5,
    "y": 0.5,
    "showarrow": False,
    "font": {"size": 15, "color": "var(--good)"},
}
