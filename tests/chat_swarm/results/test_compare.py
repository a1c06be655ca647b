"""Comparison of two runs: changes, noise, and what makes runs hard to compare."""

import math
import re

import msgspec
import pytest

from chat_swarm.report.comparison_table import as_json, format_table
from chat_swarm.results.compare import ComparedMetric, Comparison, compare, parse_bounds
from chat_swarm.results.finished_run import FinishedRun
from support.swarm.synthetic_run import synthetic_run, with_faults


@pytest.fixture(scope="module")
def before() -> FinishedRun:
    return synthetic_run(seed=1, samples=400)


@pytest.fixture(scope="module")
def again() -> FinishedRun:
    return synthetic_run(seed=2, samples=400)


@pytest.fixture(scope="module")
def slower() -> FinishedRun:
    return synthetic_run(seed=3, samples=400, tail=1.3)


def line(found: Comparison, name: str) -> ComparedMetric:
    (one,) = (line for line in found.lines if line.name == name)
    return one


def test_compare_of_a_run_with_itself_finds_no_change(before: FinishedRun) -> None:
    found = compare(before, before)
    assert not found.warnings
    assert not any(line.beyond for line in found.lines)
    assert {line.change for line in found.lines} == {0.0}


def test_compare_of_a_repeated_run_is_within_noise(before: FinishedRun, again: FinishedRun) -> None:
    found = compare(before, again)
    assert not found.warnings
    assert [line.name for line in found.lines if line.beyond] == []


def test_compare_of_a_longer_tail_is_beyond_noise_in_the_tail_only(
    before: FinishedRun, slower: FinishedRun
) -> None:
    found = compare(before, slower)
    p99 = line(found, "delivery.p99")
    assert p99.beyond
    assert p99.change is not None
    assert p99.change > 0.4
    assert p99.noise_a is not None
    assert p99.noise_b is not None
    assert p99.a is not None
    assert p99.noise_a[0] < p99.a < p99.noise_a[1] < p99.noise_b[0]
    assert line(found, "delivery.p50").beyond is False
    assert line(found, "delivery.max").beyond is None


@pytest.mark.parametrize(
    ("seconds", "scope", "said"),
    [
        ((12, 60), None, "A has 12 steady seconds; each run needs 25"),
        ((60, 24), None, "B has 24 steady seconds; each run needs 25"),
        ((12, 1), None, "A has 12 steady seconds and B has 1 steady second; each run needs 25"),
        ((5, 60), "all", "A has 19 seconds; each run needs 25"),  # with ramp and drain
        ((25, 25), None, ""),
    ],
)
def test_compare_of_short_runs_says_that_noise_is_unknown(
    seconds: tuple[int, int], scope: str | None, said: str
) -> None:
    # Given two short runs
    a, b = (synthetic_run(seed=one, steady=long, samples=200) for one, long in enumerate(seconds))
    # When they are compared, then the result says that noise is unknown, and the way out
    found = compare(a, b, scope)
    assert said in found.too_short
    assert bool(found.too_short) is bool(said)
    shown = format_table(found, colour=False)
    assert ("Too short to separate noise from change" in shown) is bool(said)
    # And never that nothing has changed
    assert ("figures changed beyond noise" in shown) is not bool(said)
    assert ("(-t; " in shown) is bool(said)
    assert msgspec.json.decode(as_json(found))["too_short"] == found.too_short


def test_table_points_out_factors_of_ten_without_known_noise() -> None:
    short, loud = (synthetic_run(steady=8, samples=200, messages=number) for number in (100, 1_000))
    found = compare(short, loud)
    assert line(found, "sent.rate").large_ratio == pytest.approx(10, abs=1)
    shown = format_table(found, colour=False)
    assert re.search(r"sent\.rate .* noise unknown, but B is (9|1\d)\S* times A", shown)
    assert "Different by a factor of ten or more: " in shown
    assert re.search(
        r"sent\.rate .* but A is (9|1\d)\S* times B", format_table(compare(loud, short), colour=False)
    )


def test_table_does_not_point_out_smaller_factors(before: FinishedRun, slower: FinishedRun) -> None:
    shown = format_table(compare(before, slower), colour=False)
    assert "times A" not in shown
    assert "factor of ten" not in shown


def test_compare_of_a_first_lost_message_is_beyond_noise(before: FinishedRun) -> None:
    found = compare(before, with_faults(synthetic_run(seed=1, samples=400)))
    lost = line(found, "lost")
    assert (lost.a, lost.b, lost.from_nothing, lost.beyond) == (0.0, 2.0, True, True)
    assert any("audit of B failed" in warning for warning in found.warnings)


def test_compare_separates_generator_metrics_from_server_metrics(before: FinishedRun) -> None:
    found = compare(before, before)
    assert {line.name.split(".")[0] for line in found.lines if not line.of_server} == {
        "bot_lag",
        "send_lag",
        "loop_lag",
        "generator",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": {"room_size": 50}}, "option room_size differs: 20 in A, 50 in B"),
        ({"bots": {"LurkerBot": 9}}, "bots: LurkerBot differs: none in A, 9 in B"),
        ({"machine": {"cores": 64}}, "machine: cores differs: 2 in A, 64 in B"),
        ({"shape": "burst"}, "the load shape differs: none in A, burst in B"),
        ({"headline": "clean"}, "A is measured over its steady seconds, B over its clean seconds"),
    ],
)
def test_compare_of_different_setups_warns(before: FinishedRun, change: dict[str, object], said: str) -> None:
    other = FinishedRun(
        summary=msgspec.structs.replace(before.summary, **change),
        rows=before.rows,
        histograms=before.histograms,
    )
    assert any(said in warning for warning in compare(before, other).warnings)


def test_compare_with_a_used_server_warns_of_its_memory(before: FinishedRun) -> None:
    assert before.summary.server is not None
    used = msgspec.structs.replace(before.summary.server, rss_before_bytes=90_000_000)
    other = FinishedRun(summary=msgspec.structs.replace(before.summary, server=used), rows=before.rows)
    (warning,) = compare(before, other).warnings
    assert "the server held 45.8 MiB in A, 85.8 MiB in B" in warning


def test_compare_with_marked_seconds_warns_unless_scope_is_clean(before: FinishedRun) -> None:
    marked = synthetic_run(seed=2, samples=400, marked=(30, 31))
    said = "in 2 seconds of B's 60 the generator was the bottleneck"
    assert any(said in warning for warning in compare(before, marked).warnings)
    assert compare(before, marked, "clean").warnings == []


@pytest.mark.parametrize(
    ("bounds", "failed"),
    [
        ("delivery.p99>+20%", True),
        ("delivery.p99>20%", True),
        ("delivery.p99>+500%", False),
        ("delivery.p50>+0%", False),  # it changed, but not beyond noise
        ("sent.rate<-5%", False),
        ("delivery.max>+1%", True),  # the noise of a maximum is unknown
        ("delivery.p50>+5%,delivery.p99>=+20%", True),
        ("catch_up.p99>+5%", True),  # it was not measured
    ],
)
def test_compare_bound_breaks_only_beyond_noise(
    before: FinishedRun, slower: FinishedRun, bounds: str, failed: bool
) -> None:
    found = compare(before, slower, bounds=parse_bounds(bounds))
    assert found.failed is failed
    assert all(verdict.why for verdict in found.verdicts)


def test_compare_change_from_zero_breaks_any_bound(before: FinishedRun) -> None:
    found = compare(
        before, with_faults(synthetic_run(seed=1, samples=400)), bounds=parse_bounds("lost>+1000%")
    )
    assert found.failed
    assert line(found, "lost").relative_change == math.inf


@pytest.mark.parametrize(
    "text", ["", "delivery.p99", "delivery.p99>20", "delivery.p99>x%", "nonsense>+5%", "lost=0"]
)
def test_parse_bounds_of_invalid_text_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example|is not a figure"):
        parse_bounds(text)


def test_table_without_colour_has_no_escape_sequences(before: FinishedRun, slower: FinishedRun) -> None:
    found = compare(before, slower, bounds=parse_bounds("delivery.p99>+20%"))
    plain, coloured = format_table(found, colour=False), format_table(found, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    assert re.search(
        r"^delivery\.p99 +8\.\d+ ms +1\d\.\d ms +\+\d\d\.\d % +beyond noise$", plain, re.MULTILINE
    )
    assert "BROKEN  delivery.p99>+20%" in plain


def test_table_escapes_control_characters(before: FinishedRun) -> None:
    other = FinishedRun(
        summary=msgspec.structs.replace(before.summary, run="\x1b[2J", shape="\x1b[1m"), rows=before.rows
    )
    assert "\x1b" not in format_table(compare(before, other), colour=False)


def test_json_of_a_comparison_round_trips(before: FinishedRun, slower: FinishedRun) -> None:
    found = compare(before, slower, bounds=parse_bounds("delivery.p99>+20%"))
    assert msgspec.json.decode(as_json(found), type=Comparison) == found


def with_figures(run: FinishedRun, counts: dict[str, int], **max_us: int) -> FinishedRun:
    """Return a run with these counts of the whole run, and these maxima of latencies."""
    scopes = {}
    for name, scope in run.summary.scopes.items():
        metrics = {
            metric: msgspec.structs.replace(short, p999=max_us.get(metric, short.p999))
            for metric, short in scope.metrics.items()
        }
        scopes[name] = msgspec.structs.replace(scope, counts=scope.counts | counts, metrics=metrics)
    summary = msgspec.structs.replace(run.summary, scopes=scopes)
    return FinishedRun(summary=summary, rows=run.rows, histograms=run.histograms)


@pytest.mark.parametrize(
    ("a", "b", "beyond"),
    [(0, 1, False), (1, 0, False), (0, 7, False), (0, 20, True), (25, 284, True), (90, 110, False)],
)
def test_compare_of_errors_is_stressed_if_chance_cannot_explain_it(
    before: FinishedRun, a: int, b: int, beyond: bool
) -> None:
    found = compare(with_figures(before, {"errors": a}), with_figures(before, {"errors": b}))
    assert line(found, "errors").beyond is beyond
    [shown] = [row for row in format_table(found, colour=True).splitlines() if "errors  " in row]
    assert ("\x1b[1m" in shown) is beyond


def test_compare_of_a_figure_ten_times_as_large_is_stressed_whatever_its_noise(before: FinishedRun) -> None:
    # Given runs so short that nothing is known of their noise, and a latency that grew by 1,036 %
    short = [FinishedRun(summary=before.summary, rows=before.rows[:8]) for _ in range(2)]
    known = short[0].summary.scopes["steady"].metrics["delivery"].p999
    other = with_figures(short[1], {}, delivery=round(known * 11.36))
    found = compare(short[0], other, bounds=parse_bounds("delivery.p99.9>+50%"))
    assert not line(found, "delivery.p99.9").beyond
    [shown] = [row for row in format_table(found, colour=True).splitlines() if "delivery.p99.9 " in row]
    assert "\x1b[1m" in shown
    assert "but B is 11.4 times A" in shown
    assert "a factor of ten or more: delivery.p99.9" in format_table(found, colour=False)
    assert found.failed


def test_large_ratio_is_shown_even_if_it_is_within_noise() -> None:
    wide = ComparedMetric(
        name="delivery.p99.9", unit="µs", of_server=True, a=1000.0, b=11_360.0, change=10.36, beyond=False
    )
    found = Comparison(a="a", b="b", scope="steady", warnings=[], lines=[wide])
    shown = format_table(found, colour=True)
    assert "within noise, but B is 11.4 times A" in shown
    assert "\x1b[2m" not in shown
