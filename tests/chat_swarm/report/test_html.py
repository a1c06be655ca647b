"""The report is a self-contained file, escapes all text, and draws what was measured."""

import base64
import gzip
import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from chat_swarm.model.metric_names import COUNTS, FAULTS, METRICS
from chat_swarm.model.schema import AuditFault
from chat_swarm.report.html import embed_plots, render
from chat_swarm.report.plotly_layout import Plot
from chat_swarm.report.time_plots import MAX_POINTS, TimeSeries
from chat_swarm.results.finished_run import FinishedRun
from support.swarm.synthetic_run import synthetic_run, with_faults


class Page(HTMLParser):
    """The parts of a page: elements with attributes, text, and the contents of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = (dict(attrs).get("id") or tag) if tag in {"script", "style"} else ""

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def plots(self) -> dict[str, dict[str, Any]]:
        found = msgspec.json.decode(self.scripts["plots"], type=list[dict[str, Any]])
        return {plot["id"]: plot for plot in found}


@pytest.fixture(scope="module")
def run() -> FinishedRun:
    return synthetic_run(steady=30, samples=400, marked=(20, 21, 33))


@pytest.fixture(scope="module")
def page(run: FinishedRun) -> Page:
    return Page(render(run))


def test_report_fetches_nothing(run: FinishedRun) -> None:
    text = render(run)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "a"}
        assert not {"src", "href", "srcset", "action", "data"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert "url(" not in page.scripts["style"]
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", text.replace(page.scripts["library"], ""))


def test_report_contains_the_whole_plotting_library(page: Page) -> None:
    packed = page.scripts["library"].strip()
    assert gzip.decompress(base64.b64decode(packed, validate=True)).decode() == get_plotlyjs()
    assert len(packed) < 2_500_000


def test_report_has_an_element_and_a_title_for_each_plot(page: Page) -> None:
    places = [attributes["id"] for _, attributes in page.elements if attributes.get("class") == "plot"]
    assert places == [
        "percentiles",
        "delivery-time",
        "rates",
        "connections",
        "server",
        "generator",
        "faults",
    ]
    assert set(page.plots()) == set(places)
    assert all(plot["title"] in page.text for plot in page.plots().values())


def test_plots_are_valid_plotly_figures(page: Page) -> None:
    for plot in page.plots().values():
        go.Figure(plot["figure"])  # raises for an unknown property


def trace(plot: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (trace for trace in plot["figure"]["data"] if trace["name"] == name)
    assert isinstance(found, dict)
    return found


def test_plots_contain_the_measured_values(run: FinishedRun, page: Page) -> None:
    plots = page.plots()
    curve = trace(plots["percentiles"], "delivery")
    # The histogram has the exact maximum, and so has the curve.
    assert curve["y"][-1] == run.scope("steady").metrics["delivery"].max / 1000
    assert trace(plots["percentiles"], "bot lag")["line"]["dash"] == "dash"
    assert trace(plots["percentiles"], "SLO: must be below")["y"] == [50.0]

    p99 = trace(plots["delivery-time"], "delivery p99")
    assert p99["x"] == [row.t for row in run.rows]
    assert p99["y"][15] == run.rows[15].metrics["delivery"].p99 / 1000
    assert trace(plots["rates"], "sent (right)")["y"] == [row.counts["sent"] for row in run.rows]
    assert trace(plots["connections"], "connected")["y"] == [row.connected for row in run.rows]
    server = [row.server.cpu for row in run.rows if row.server]
    assert trace(plots["server"], "server CPU (left)")["y"] == pytest.approx(server, rel=1e-4)


def test_time_plots_shade_marked_seconds_and_phases(page: Page) -> None:
    for plot in page.plots().values():
        if not plot["time"]:
            continue
        bands = [shape for shape in plot["figure"]["layout"]["shapes"] if shape["type"] == "rect"]
        marked = [(band["x0"], band["x1"]) for band in bands if band["fillcolor"] == "var(--marked)"]
        phases = [(band["x0"], band["x1"]) for band in bands if band["fillcolor"] == "var(--phase)"]
        assert marked == [(19.5, 21.5), (32.5, 33.5)]
        assert phases == [(-0.5, 9.5), (39.5, 43.5)]


def test_tables_list_every_name_with_its_meaning(page: Page) -> None:
    for metric in METRICS:
        assert metric.name in page.text
        assert metric.meaning.replace("`", "").split(" → ")[0].split()[-1] in page.text
    for name in (*COUNTS, *FAULTS):
        assert name in page.text


def test_page_head_separates_verdict_from_generator(page: Page) -> None:
    assert "✓ Passed" in page.text
    assert "The generator was the bottleneck in 3 seconds of 30 (10" in page.text
    assert "not part of the server's figures" in page.text
    assert "delivery. p99 < 50 ms" in page.text  # a line may break after the dot


def test_report_of_a_failed_run_shows_faults_and_steps() -> None:
    run = with_faults(synthetic_run(steady=45, samples=100, steps=True, errors={"rate_limited": 7}))
    page = Page(render(run))
    assert "✗ Failed" in page.text
    assert "2 lost, 1 repeated" in page.text
    assert "swarm-17" in page.text
    assert "rate_limited 7" in page.text
    assert "2,000 messages per second held; 3,000 broke" in page.text
    names = [trace["name"] for trace in page.plots()["faults"]["figure"]["data"]]
    assert names[:2] == ["lost", "repeated"]
    labels = [note["text"] for note in page.plots()["delivery-time"]["figure"]["layout"]["annotations"]]
    assert "2000 messages/s" in labels


def test_report_escapes_all_text_of_a_run() -> None:
    """Given a run whose texts are all HTML, when it is rendered, then the page has no other elements."""
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>`<b>`"
    run = synthetic_run(
        steady=6,
        samples=50,
        run=evil,
        target=evil,
        command=[evil],
        options={evil: evil},
        machine={evil: {evil: [evil]}},
        warnings=[evil],
        errors={evil: 1},
        shape=evil,
    )
    run.summary.bots = {evil: 1}
    run.rows[12].step = run.rows[13].marked = evil
    run.summary.generator.marked = {evil: 1}
    run.summary.audit.notes = [evil]
    run.summary.audit.faults = [AuditFault(kind="lost", room=evil, bot=evil, first=1, last=2, detail=evil)]
    text = render(run)
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert not {"img", "b"} & {
        tag for tag, attributes in page.elements if "onerror" in attributes or tag == "img"
    }
    assert "<img" not in text
    assert "alert(1)" in page.text
    assert page.plots()


def test_report_of_an_empty_run_is_rendered(run: FinishedRun) -> None:
    empty = FinishedRun(
        summary=msgspec.structs.replace(run.summary, scopes={}, server=None, objective=None, steps=[])
    )
    page = Page(render(empty))
    assert page.plots() == {}
    assert "no delivery was timed" in page.text


def test_time_series_of_a_long_run_keeps_maxima() -> None:
    rows = synthetic_run(steady=2, samples=20).rows
    many = [msgspec.structs.replace(row, t=number) for number, row in enumerate(rows * (MAX_POINTS // 4))]
    seconds = TimeSeries(many)
    assert len(seconds.x) <= MAX_POINTS
    assert max(value or 0 for value in seconds.quantile("delivery", "max")) == pytest.approx(
        max(row.metrics["delivery"].max for row in rows if "delivery" in row.metrics) / 1000, rel=1e-4
    )


def test_embed_plots_cannot_end_the_script_element() -> None:
    plot = Plot(id="x", title="</script><!--", caption="&amp;", figure={})
    text = embed_plots([plot])
    assert not set("<>&") & set(text)
    assert msgspec.json.decode(text, type=list[Plot]) == [plot]
