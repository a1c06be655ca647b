"""Layout shared by the report's plots: colours, axes and traces as plotly.js expects them.

Figures are plain dicts. Colours are written `var(--name)`: page/report.css defines them for light and dark
(after Okabe and Ito, 2008, distinguishable for the colour-blind), and page/report.js substitutes them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from chat_swarm.model.units import microseconds

BLUE: Final = "var(--s1)"
VERMILION: Final = "var(--s2)"
GREEN: Final = "var(--s3)"
PURPLE: Final = "var(--s4)"
ORANGE: Final = "var(--s5)"
SKY: Final = "var(--s6)"
GREY: Final = "var(--s7)"
MARKED: Final = "var(--marked)"
PHASE: Final = "var(--phase)"

_INK: Final = "var(--ink)"
_SOFT: Final = "var(--soft)"
_GRID: Final = "var(--grid)"
_LINE: Final = "var(--line)"
_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'

Numbers = Sequence[float | None]
Spec = dict[str, Any]


class Plot(Struct, kw_only=True):
    """A plot of the page; `time`: its x axis is the run's seconds. `height` is in CSS pixels."""

    id: str
    title: str
    caption: str
    figure: Spec
    time: bool = False
    wide: bool = False
    height: int = 300


class LineStyle(Struct, frozen=True):
    """How a line is drawn; `colour` is a CSS variable of page/report.css."""

    label: str
    colour: str
    dash: str = "solid"
    width: float = 2.0


def line_trace(style: LineStyle, x: Numbers, y: Numbers, **more: Any) -> Spec:
    """Return a line trace; `None` in `y` is a gap."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": style.label,
        "x": list(x),
        "y": list(y),
        "line": {"color": style.colour, "dash": style.dash, "width": style.width},
        **more,
    }


def layout(x: Spec, y: Spec, **more: Any) -> Spec:
    """Return a layout: no title (the page has it), legend above, one hover box for all lines."""
    return {
        "font": {"family": _FONT, "size": 12.5, "color": _SOFT},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 66, "r": 20, "t": 34, "b": 44},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _SOFT, "activecolor": _INK},
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "var(--tip)",
            "bordercolor": _LINE,
            "font": {"color": _INK, "family": _FONT},
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"color": _INK},
        },
        "xaxis": {**_axis(), **x},
        "yaxis": {**_axis(), **y},
        **more,
    }


def _axis() -> Spec:
    return {
        "gridcolor": _GRID,
        "linecolor": _LINE,
        "zeroline": False,
        "automargin": True,
    }


def axis_title(text: str) -> Spec:
    """Return an axis title."""
    return {"text": text, "standoff": 8, "font": {"size": 12.5}}


def second_axis(title: str, **more: Any) -> Spec:
    """Return a second y axis, on the right."""
    return {
        **_axis(),
        "overlaying": "y",
        "side": "right",
        "showgrid": False,
        "rangemode": "tozero",
        "tickmode": "auto",
        "title": axis_title(title),
        **more,
    }


def linear_axis(title: str, **more: Any) -> Spec:
    """Return a linear axis that begins at 0."""
    return {"title": axis_title(title), "rangemode": "tozero", **more}


def log_ms_axis(series: Iterable[Numbers]) -> Spec:
    """Return a logarithmic axis in ms that covers the series; its ticks have units."""
    values = [value for one in series for value in one if value]
    low, high = min(values, default=0.1), max(values, default=10.0)
    least, most = math.log10(low) - 0.08, math.log10(high) + 0.12
    steps = (1, 2, 5) if most - least < 2.6 else (1, 3) if most - least < 3.6 else (1,)
    ticks = [
        step * 10.0**power
        for power in range(math.floor(least), math.ceil(most) + 1)
        for step in steps
        if least <= math.log10(step * 10.0**power) <= most
    ]
    return {
        "type": "log",
        "range": [least, most],
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [microseconds(tick * 1000) for tick in ticks],
    }
