"""Data of the live page, from synthetic rows."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from chat_swarm.locust_plugin import live_view
from chat_swarm.locust_plugin.live_view import (
    FIGURES_MAX_AGE_S,
    MAX_ROWS,
    TIMELINE_COLUMNS,
    LiveView,
)
from chat_swarm.model.metric_names import METRICS
from chat_swarm.model.schema import Quantiles, Scope, ServerSample, TimelineRow
from chat_swarm.report.percentile_plot import percentile_plot
from chat_swarm.report.series_styles import CURVES, LINES
from chat_swarm.report.time_plots import plots
from support.swarm.synthetic_run import synthetic_run


class Made:
    """A source whose data the test sets."""

    def __init__(self) -> None:
        self.run = "one"
        self.running = True
        self.run_directory: Path | None = None
        self.finished: list[Path] = []
        self.made: list[TimelineRow] = []
        self.found: dict[str, Scope] = {}
        self.wrong: dict[str, int] = {}
        self.asked = 0

    def rows(self, since: int) -> Sequence[TimelineRow]:
        return self.made[since:]

    def scopes(self) -> Mapping[str, Scope]:
        self.asked += 1
        return self.found

    def curve(self, metric: str) -> Sequence[tuple[float, int]]:
        return [(50.0, 900)] if metric == "ack" else []

    def faults(self) -> Mapping[str, int]:
        return self.wrong


@pytest.fixture
def source() -> Made:
    return Made()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def view(source: Made, now: list[float]) -> LiveView:
    return LiveView(source, lambda: now[0])


def seconds(number: int, marked: str = "") -> list[TimelineRow]:
    return [TimelineRow(t=t, unix=t, phase="steady", marked=marked) for t in range(number)]


def test_data_before_the_first_run_is_empty(view: LiveView, source: Made) -> None:
    source.run = ""
    data = view.data("", 0)
    assert (data["run"], data["rows"], data["table"], data["next"]) == ("", [], [], 0)
    assert data["generator"] == "no second measured yet"


def test_data_row_is_in_the_order_of_the_columns(view: LiveView, source: Made) -> None:
    source.made = [
        TimelineRow(
            t=0,
            unix=5,
            phase="ramp",
            step="step 1",
            bots=3,
            connected=2,
            counts={"sent": 7, "delivered": 8},
            metrics={"delivery": Quantiles(count=1, p50=10, p99=20, p999=30, max=40), "bot_lag": Quantiles()},
            loop_lag_max_us=50,
            cpu=0.5,
            marked="loop lag",
            server=ServerSample(cpu=0.25, rss_bytes=60, descriptors=70),
        )
    ]
    (row,) = view.data("", 0)["rows"]
    assert dict(zip(TIMELINE_COLUMNS, row, strict=True)) == {
        "t": 0,
        "phase": "ramp",
        "step": "step 1",
        "bots": 3,
        "connected": 2,
        "sent": 7,
        "delivered": 8,
        "delivery_p50": 10,
        "delivery_p99": 20,
        "delivery_p999": 30,
        "delivery_max": 40,
        "bot_lag_p50": None,
        "bot_lag_p99": None,
        "bot_lag_p999": None,
        "bot_lag_max": None,
        "loop_lag_max": 50,
        "cpu": 0.5,
        "server_cpu": 0.25,
        "server_rss": 60,
        "marked": "loop lag",
    }


def test_data_continues_at_next(view: LiveView, source: Made) -> None:
    source.made = seconds(3)
    first = view.data("one", 0)
    source.made = seconds(5)
    second = view.data("one", first["next"])
    assert [row[0] for row in second["rows"]] == [3, 4]
    assert view.data("one", second["next"])["rows"] == []
    assert view.data("one", second["next"])["next"] == 5


def test_data_for_another_run_returns_all_rows(view: LiveView, source: Made) -> None:
    source.made = seconds(3)
    data = view.data("another", 2)
    assert (data["run"], data["begin"], len(data["rows"])) == ("one", 0, 3)


@pytest.mark.parametrize("since", [-1, -(10**30)])
def test_data_since_before_the_run_returns_all_rows(view: LiveView, source: Made, since: int) -> None:
    source.made = seconds(3)
    assert len(view.data("one", since)["rows"]) == 3


def test_data_of_a_long_run_comes_in_parts(view: LiveView, source: Made) -> None:
    source.made = seconds(MAX_ROWS + 2)
    first = view.data("one", 0)
    assert (len(first["rows"]), first["more"], first["next"]) == (MAX_ROWS, True, MAX_ROWS)
    rest = view.data("one", first["next"])
    assert (len(rest["rows"]), rest["more"]) == (2, False)


def test_figures_use_steady_seconds_if_there_are_any(view: LiveView, source: Made) -> None:
    one = {"ack": Quantiles(count=10, p50=1234, max=4000)}
    source.found = {"all": Scope(seconds=9, metrics=one), "steady": Scope(seconds=0)}
    assert view.data("one", 0)["scope"] == "all"
    source.run = "two"
    source.found = {"all": Scope(seconds=9), "steady": Scope(seconds=5, metrics=one)}
    data = view.data("two", 0)
    (line,) = data["table"]
    assert (data["scope"], line["per_second"], line["p50"], line["max"]) == ("steady", 2.0, 1.234, 4.0)


def test_table_lists_metrics_with_samples_in_order(view: LiveView, source: Made) -> None:
    some = {metric.name: Quantiles(count=1) for metric in reversed(METRICS) if metric.name != "resume"}
    source.found = {"steady": Scope(seconds=1, metrics=some | {"resume": Quantiles()})}
    shown = [line["metric"] for line in view.data("one", 0)["table"]]
    assert shown == [metric.name for metric in METRICS if metric.name != "resume"]


def test_figures_are_cached_for_many_pages(view: LiveView, source: Made, now: list[float]) -> None:
    for _ in range(5):
        view.data("one", 0)
        view.tab_rows()
    assert source.asked == 1
    now[0] += FIGURES_MAX_AGE_S
    view.data("one", 0)
    assert source.asked == 2


def test_audit_lists_faults(view: LiveView, source: Made) -> None:
    assert "nothing lost" in view.tab_rows()[0]["meaning"]
    source.run, source.wrong = "two", {"repeated": 1, "lost": 2000, "gaps": 0}
    assert view.tab_rows()[0]["meaning"] == "2,000 lost, 1 repeated"
    assert view.data("two", 0)["faults"] == 2001


def test_marked_seconds_are_counted_incrementally(view: LiveView, source: Made, now: list[float]) -> None:
    source.made = seconds(2, "CPU over 95 %")
    assert view.data("one", 0)["marked"] == 2
    source.made = source.made + seconds(4)[2:]
    now[0] += FIGURES_MAX_AGE_S
    data = view.data("one", 2)
    assert (data["marked"], data["generator"]) == (
        2,
        "busiest process 0.00 of a core, loop lag up to 0.0 ms in the last second; 2 seconds marked so far",
    )
    source.run, source.made = "two", seconds(1)
    assert view.data("one", 4)["marked"] == 0


def test_reports_lists_runs_with_reports_newest_first(view: LiveView, source: Made, tmp_path: Path) -> None:
    source.finished = [tmp_path / name for name in ("a", "b", "c")]
    for path in source.finished:
        path.mkdir()
    for name in "ac":
        (tmp_path / name / "report.html").touch()
    assert view.reports() == [{"number": 2, "name": "c"}, {"number": 0, "name": "a"}]


def test_data_is_json(view: LiveView, source: Made, tmp_path: Path) -> None:
    source.run_directory, source.made = tmp_path, seconds(2)
    data = msgspec.json.decode(msgspec.json.encode(view.data("", 0)))
    assert data["directory"] == str(tmp_path)
    assert set(data["curves"]) == set(CURVES)
    assert data["curves"]["ack"] == [[50.0, 900]]


def test_page_and_report_draw_with_the_same_legends_and_colours(view: LiveView, source: Made) -> None:
    # Given what the page draws with
    source.made = seconds(2)
    data = msgspec.json.decode(msgspec.json.encode(view.data("", 0)))
    curves, lines = data["styles"]["curves"], data["styles"]["lines"]
    # And the report of a run
    run = synthetic_run(seed=1)
    curve_plot = percentile_plot(run, "steady")
    assert curve_plot is not None
    traces = [
        trace for plot in [curve_plot, *plots(run)] for trace in plot.figure["data"] if trace.get("line")
    ]
    # Then each line that both have looks the same in both
    drawn = {trace["name"]: trace["line"] for trace in traces}
    both = [style for style in [*curves.values(), *lines.values()] if style["label"] in drawn]
    assert len(both) >= len(curves) - 1 + len(lines) - 1  # nobody was away, and no other load was sampled
    for style in both:
        found = {"color": style["colour"], "dash": style["dash"], "width": style["width"]}
        assert found == drawn[style["label"]]
    # And the page's script names no line that has no style
    script = (Path(live_view.__file__).parent / "page" / "live.js").read_text()
    named = set(re.findall(r'trace\(\d, \d, "(\w+)"', script)) | set(
        re.findall(r'"(\w+)"', " ".join(re.findall(r"\.\.\.\[(.*?)\]", script)))
    )
    assert named >= {"delivered", "delivery_max", "loop_lag_max", "server_rss"}
    assert named <= set(LINES) & set(TIMELINE_COLUMNS)
    assert not re.search(r"--s\d", script.replace('"var(--s1)"', ""))
