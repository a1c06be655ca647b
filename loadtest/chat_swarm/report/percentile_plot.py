"""Plot of percentile curves: latency over the number of nines, with an SLO's limits."""

import math
from typing import Any, Final

from chat_swarm.model.hgrm import percentile_curve
from chat_swarm.model.metric_names import METRIC_BY_NAME
from chat_swarm.model.schema import SloTerm
from chat_swarm.report.plotly_layout import (
    ORANGE,
    Plot,
    axis_title,
    layout,
    line_trace,
    log_ms_axis,
)
from chat_swarm.report.series_styles import CURVES
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.metric_refs import MetricKind, parse_metric_ref
from chat_swarm.results.verdict import format_condition

_MIN_SHOWN_ODDS: Final = 1.1
"""Points with a smaller 1 / (1 - quantile) are outside the plot: the minima would take half of the y axis."""

_SLO_HEADROOM_RATIO: Final = 1.6  # room for the text above an SLO's mark
_MS_PER_UNIT: Final = {"us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}


def percentile_plot(run: FinishedRun, scope: str) -> Plot | None:
    """Return the plot of a scope; None if it has no samples."""
    histograms = run.histograms_of(scope)
    curves = {
        name: percentile_curve(histograms[name])
        for name in CURVES
        if name in histograms and histograms[name].count
    }
    if not curves:
        return None
    data = []
    for name, (x, y) in curves.items():
        more = {
            "customdata": [format_percentile(odds) for odds in x],
            "hovertemplate": "%{customdata}: %{y:.3~g} ms",
            "hoverlabel": {"namelength": -1},
        }
        data.append(line_trace(CURVES[name], x, [max(ms, 1e-3) for ms in y], **more))
    terms = run.summary.objective.terms if run.summary.objective else []
    most = max(x[-1] for x, _ in curves.values())
    limits = [point for term in terms if (point := _slo_point(term)) is not None and point[0] <= most]
    if limits:
        data.append(_slo_markers(limits))
    ys = [[ms for odds, ms in zip(x, y, strict=True) if odds > _MIN_SHOWN_ODDS] for x, y in curves.values()]
    ys.append([ms * _SLO_HEADROOM_RATIO for _, ms, _ in limits])
    powers = range(1, math.floor(math.log10(most)) + 1)
    ticks = [1.0, 2.0, 4.0] + [10.0**power for power in powers]
    meanings = "; ".join(f"{name.replace('_', ' ')}: {METRIC_BY_NAME[name].meaning}" for name in curves)
    return Plot(
        id="percentiles",
        title="Percentile curves",
        caption=f"Latency by percentile; each nine has the same width. Dashed lines are the"
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
                    "ticktext": [format_percentile(tick) for tick in ticks],
                    "title": axis_title("percentile"),
                },
                log_ms_axis(ys),
                hovermode="closest",
                annotations=[_slo_label(*point) for point in limits],
            ),
        },
    )


def format_percentile(odds: float) -> str:
    """Return 1 / (1 - quantile) as a percentage, with as many digits as needed."""
    percent = 100 * (1 - 1 / odds)
    digits = max(0, math.ceil(math.log10(odds) - 1e-9) - 2) + (odds < 100 and percent != int(percent))
    text = f"{percent:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _slo_point(term: SloTerm) -> tuple[float, float, str] | None:
    """Return (x, y in ms, text) of an SLO's upper bound of a latency; None for other conditions."""
    name, less, _ = term.text.partition("<")
    if not less or term.unit not in _MS_PER_UNIT:
        return None
    ref = parse_metric_ref(name.strip())
    if ref.kind is not MetricKind.LATENCY or ref.subject not in CURVES or ref.percent in {None, 100.0}:
        return None
    assert ref.percent is not None
    return 1 / (1 - ref.percent / 100), term.limit * _MS_PER_UNIT[term.unit], term.text


def _slo_markers(points: list[tuple[float, float, str]]) -> dict[str, Any]:
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


def _slo_label(odds: float, ms: float, text: str) -> dict[str, Any]:
    # On a logarithmic axis, plotly takes an annotation's position as the logarithm.
    return {
        "x": math.log10(odds),
        "y": math.log10(ms),
        "text": format_condition(text).replace("<", "&lt;"),
        "yshift": 20,
        "showarrow": False,
        "bgcolor": "var(--card)",
        "borderpad": 2,
        "font": {"size": 12, "color": "var(--ink)"},
    }
