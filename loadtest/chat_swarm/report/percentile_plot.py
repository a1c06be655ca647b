"""The plot of percentile curves: latency over nines.

Knows histograms and an SLO's terms. Must not know pages.
"""

import math
from typing import Any, Final

from chat_swarm.model.hgrm import curve
from chat_swarm.model.metric_names import METRIC
from chat_swarm.model.schema import Term
from chat_swarm.report.plotly_layout import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Plot,
    layout,
    line,
    milliseconds,
    titled,
)
from chat_swarm.results.finished_run import Run
from chat_swarm.results.metric_refs import Kind, parse_figure
from chat_swarm.results.verdict import condition

_SHOWN: Final = {
    "delivery": (BLUE, "solid", 3.0),
    "delivery_response": (PURPLE, "solid", 1.8),
    "ack": (GREEN, "solid", 1.8),
    "rtt": (VERMILION, "solid", 1.8),
    "catch_up": (SKY, "solid", 1.8),
    "bot_lag": (GREY, "dash", 1.8),
    "send_lag": (GREY, "dot", 1.8),
}
_FOOT: Final = 1.1
"""1 / (1 - quantile) below which nobody looks: the few luckiest would take half of the y axis."""

_HEADROOM: Final = 1.6  # above an SLO's mark is its text
_MS_PER: Final = {"us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}


def percentiles(run: Run, scope: str) -> Plot | None:
    """Return the plot over a scope's seconds, None if nothing was measured in them."""
    histograms = run.histograms_of(scope)
    curves = {
        name: curve(histograms[name]) for name in _SHOWN if name in histograms and histograms[name].count
    }
    if not curves:
        return None
    data = []
    for name, (x, y) in curves.items():
        colour, dash, width = _SHOWN[name]
        more = {
            "customdata": [nines(odds) for odds in x],
            "hovertemplate": "%{customdata}: %{y:.3~g} ms",
            "hoverlabel": {"namelength": -1},
        }
        data.append(
            line(
                name.replace("_", " "), x, [max(ms, 1e-3) for ms in y], colour, dash=dash, width=width, **more
            )
        )
    terms = run.summary.objective.terms if run.summary.objective else []
    most = max(x[-1] for x, _ in curves.values())
    limits = [point for term in terms if (point := _limit(term)) is not None and point[0] <= most]
    if limits:
        data.append(_markers(limits))
    ys = [[ms for odds, ms in zip(x, y, strict=True) if odds > _FOOT] for x, y in curves.values()]
    ys.append([ms * _HEADROOM for _, ms, _ in limits])
    powers = range(1, math.floor(math.log10(most)) + 1)
    ticks = [1.0, 2.0, 4.0] + [10.0**power for power in powers]
    meanings = "; ".join(f"{name.replace('_', ' ')}: {METRIC[name].meaning}" for name in curves)
    return Plot(
        id="percentiles",
        title="Percentile curves",
        caption=f"How long the slowest took. Each nine is as wide as the one before; dashed lines are the"
        f" generator's own lag. {meanings[0].upper()}{meanings[1:]}.",
        wide=True,
        height=470,
        figure={
            "data": data,
            "layout": layout(
                {
                    "type": "log",
                    "range": [0, math.log10(most) + 0.05],
                    "tickmode": "array",
                    "tickvals": ticks,
                    "ticktext": [nines(tick) for tick in ticks],
                    "title": titled("percentile"),
                },
                milliseconds(ys),
                hovermode="closest",
                annotations=[_label(*point) for point in limits],
            ),
        },
    )


def nines(odds: float) -> str:
    """Return 1 / (1 - quantile) as a percentage with as many nines as it takes."""
    percent = 100 * (1 - 1 / odds)
    digits = max(0, math.ceil(math.log10(odds) - 1e-9) - 2) + (odds < 100 and percent != int(percent))
    text = f"{percent:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _limit(term: Term) -> tuple[float, float, str] | None:
    """Return where an upper bound of a latency is in the plot, and its text."""
    name, less, _ = term.text.partition("<")
    if not less or term.unit not in _MS_PER:
        return None
    figure = parse_figure(name.strip())
    if figure.kind is not Kind.LATENCY or figure.subject not in _SHOWN or figure.percent in {None, 100.0}:
        return None
    assert figure.percent is not None
    return 1 / (1 - figure.percent / 100), term.limit * _MS_PER[term.unit], term.text


def _markers(points: list[tuple[float, float, str]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "SLO: must be below",
        "x": [x for x, _, _ in points],
        "y": [y for _, y, _ in points],
        "text": [text for _, _, text in points],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "triangle-down", "size": 13, "color": ORANGE},
    }


def _label(odds: float, ms: float, text: str) -> dict[str, Any]:
    # On a logarithmic axis, an annotation stands at the logarithm.
    return {
        "x": math.log10(odds),
        "y": math.log10(ms),
        "text": condition(text).replace("<", "&lt;"),
        "yshift": 20,
        "showarrow": False,
        "bgcolor": "var(--card)",
        "borderpad": 2,
        "font": {"size": 12, "color": "var(--ink)"},
    }
