"""Renders report.html: a self-contained file, plotting library included, that fetches nothing.

plotly.js comes from plotly's package, 4.8 MB; gzip and base64 make 2 MB of it, and the browser unpacks it
(DecompressionStream: Chrome 80, Safari 16.4, Firefox 113). Without JavaScript, all figures are in tables.
"""

import base64
import gzip
import re
import shlex
from functools import lru_cache
from importlib import resources

import msgspec
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from chat_swarm.report import page, percentile_plot, tables, time_plots
from chat_swarm.report.plotly_layout import Plot
from chat_swarm.results import verdict
from chat_swarm.results.finished_run import FinishedRun


def render(run: FinishedRun) -> str:
    """Return the page's HTML."""
    summary = run.summary
    latency = [plot for plot in [percentile_plot.percentile_plot(run, summary.headline)] if plot is not None]
    over = list(time_plots.plots(run))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(code=_code_filter, breakable=_breakable_filter, whole=_unbroken_filter)
    return environment.from_string(_read_asset("report.html.jinja")).render(
        run=summary.run,
        passed=summary.passed,
        headline=page.headline(run),
        facts=page.facts(run),
        warnings=summary.warnings,
        remarks=summary.remarks,
        checks=list(page.checks(run)),
        heroes=list(page.delivery_tiles(run)),
        server_tiles=list(page.server_tiles(run)),
        generator_tiles=list(page.generator_tiles(run)),
        generator_sentence=verdict.generator_sentence(run),
        generator_severity=verdict.severity(run),
        scope_words=page.scope_phrase(run),
        time_hint=page.time_hint(run),
        steps=tables.steps(run),
        limit=verdict.limit_sentence(summary.limit) if summary.limit else "",
        latency_plots=latency + over[:1],
        time_plots=over[1:],
        scopes=[
            {
                "title": title,
                "chosen": name == summary.headline,
                "latencies": tables.latencies(run.scope(name)),
            }
            for name, title in page.SCOPE_TITLES.items()
        ],
        counts=tables.counts(run),
        audit=tables.audit(run),
        audit_notes=summary.audit.notes,
        faults=tables.faults(run),
        errors=tables.errors(summary.errors),
        options=tables.facts(summary.options, page.format_value),
        machine=tables.facts(summary.machine, page.format_value),
        command=shlex.join(summary.command),
        css=Markup(_read_asset("report.css")),  # noqa: S704  ours, as are the next three
        js=Markup(_read_asset("report.js")),  # noqa: S704
        library=Markup(_packed_plotly()),  # noqa: S704
        plots_json=Markup(embed_plots(latency + over)),  # noqa: S704
    )


def embed_plots(plots: list[Plot]) -> str:
    """Return the plots as JSON without `<`, `>` and `&`, so that it cannot end its script element."""
    text = msgspec.json.encode(plots).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _code_filter(text: str) -> Markup:
    """Return HTML of text, with parts in `backticks` as code elements."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def _breakable_filter(text: str) -> Markup:
    """Return a figure's name with optional line breaks after dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(text))))  # noqa: S704  escaped just here


def _unbroken_filter(text: str) -> str:
    """Return text with no-break spaces between numbers and units."""
    return re.sub(r"(\d) (%|[mµ]?s\b)", "\\1\u00a0\\2", text)


def _read_asset(name: str) -> str:
    return resources.files("chat_swarm.report").joinpath("page", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")
