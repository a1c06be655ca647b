"""SLOs are parsed strictly, and evaluated against a run's measurements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.histogram import Histogram
from chat_swarm.model.metric_names import COUNTS, FAULTS, METRIC_BY_NAME
from chat_swarm.model.schema import Quantiles, Scope
from chat_swarm.results.metric_refs import SINGLE_VALUES, Measurements, measurements_of, parse_metric_ref
from chat_swarm.results.slo import OPERATORS, evaluate, parse_slo
from support.swarm.synthetic_run import synthetic_run

percentiles = st.one_of(
    st.sampled_from(["p50", "p95", "p99", "p99.9", "p999", "p9999", "p100", "min", "mean", "max"]),
    st.decimals(0, 100, places=3).map(lambda number: f"p{number}"),
)
latencies = st.builds("{}.{}".format, st.sampled_from(sorted(METRIC_BY_NAME)), percentiles)
others = st.sampled_from([*COUNTS, *FAULTS, *(f"{name}.rate" for name in COUNTS), "connected"])
spaces = st.sampled_from(["", " "])
numbers = st.decimals(0, 100_000, places=2).map(str)


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, str, str, str]:
    name = draw(st.one_of(latencies, others))
    unit = draw(st.sampled_from(["us", "µs", "ms", "s"])) if name.split(".")[0] in METRIC_BY_NAME else ""
    sign = draw(st.sampled_from(sorted(OPERATORS)))
    number = draw(numbers)
    gaps = [draw(spaces) for _ in range(4)]
    return name, sign, number, unit, f"{gaps[0]}{name}{gaps[1]}{sign}{gaps[2]}{number}{gaps[3]}{unit}"


@given(st.lists(conditions(), min_size=1, max_size=4))
def test_parse_slo_of_any_valid_text_round_trips(
    written: list[tuple[str, str, str, str, str]],
) -> None:
    read = parse_slo(",".join(text for *_, text in written))
    assert [(one.ref.name, one.operator, one.limit, one.unit) for one in read] == [
        (name, sign, float(number), unit) for name, sign, number, unit, _ in written
    ]
    assert parse_slo(",".join(one.text for one in read)) == read


@given(st.text(max_size=40))
def test_parse_slo_of_any_text_parses_or_raises_value_error(text: str) -> None:
    try:
        parse_slo(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  most texts are refused, always by ValueError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("lost=0,,sent>1", "comma"),
        ("delivery.p99", "has no comparison"),
        ("<5ms", "does not name a figure"),
        ("delivry.p99<5ms", "did you mean delivery.p99?"),
        ("lst=0", "did you mean lost?"),
        ("delivery<5ms", "for example delivery.p99"),
        ("delivery.p9x<5ms", "'p9x' is not a statistic"),
        ("delivery.p101<5ms", "over 100 percent"),
        ("delivery.p99<5", "the unit is missing: write 5ms, 5us or 5s"),
        ("delivery.p99<5min", "'min' is not a unit of time"),
        ("lost!=0", "'!=' is not an operator"),
        ("lost=-1", "'-1' is not a limit"),
        ("lost=0 messages", "write just 0"),
        ("lost.rate=0", "write lost"),
        ("server.cpu<5", "did you mean server.cpu_cores?"),
    ],
)
def test_parse_slo_of_invalid_text_names_problem_and_remedy(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_slo(text)
    assert said in str(refused.value)


def test_parse_metric_ref_of_p999_is_the_99_9th_percentile() -> None:
    assert parse_metric_ref("ack.p999").percent == parse_metric_ref("ack.p99.9").percent == 99.9
    assert parse_metric_ref("ack.p9999").percent == 99.99


def test_parse_metric_ref_accepts_all_single_values() -> None:
    assert [parse_metric_ref(name).name for name in SINGLE_VALUES] == list(SINGLE_VALUES)


def histogram(*values: int) -> Histogram:
    import numpy as np  # noqa: PLC0415  for this alone

    made = Histogram()
    made.record(np.array(values))
    return made


@pytest.fixture
def some() -> Measurements:
    ack = histogram(*range(1000, 101_000, 1000))
    return Measurements(
        scope=Scope(
            seconds=10.0,
            counts={"sent": 500, "errors": 1},
            rates={"sent": 50.0},
            metrics={"ack": ack.quantiles()},
        ),
        histograms={"ack": ack},
        faults={"lost": 2},
        connected=7,
        whole=Scope(seconds=20.0, counts={"errors": 3}, metrics={"connect": Quantiles(count=1, p99=900)}),
    )


@pytest.mark.parametrize(
    ("text", "passed", "value"),
    [
        ("ack.p50<=50.1ms", True, 50.0),
        ("ack.p95<94ms", False, 95.0),
        ("ack.p95<0.096s", True, 0.095),
        ("ack.max<1s", True, 0.1),
        ("lost=0", False, 2.0),
        ("repeated=0", True, 0.0),
        ("sent>=500", True, 500.0),
        ("sent.rate>50", False, 50.0),
        ("acknowledged.rate==0", True, 0.0),
        ("connected>=7", True, 7.0),
        ("errors<=3", True, 3.0),  # of the whole run: a failure in the ramp is one too
        ("connect.p99<1ms", True, 0.9),  # as connecting happens in the ramp
    ],
)
def test_evaluate_compares_in_the_unit_of_the_condition(
    some: Measurements, text: str, passed: bool, value: float
) -> None:
    (term,) = evaluate(text, some, "steady").terms
    assert term.passed is passed
    assert term.value == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("text", ["rtt.p99<1s", "rtt.p99>0s", "server.cpu_cores<1", "generator.cpu_cores<1"])
def test_evaluate_of_a_missing_figure_fails_with_the_reason(some: Measurements, text: str) -> None:
    found = evaluate(text, some, "steady")
    assert not found.passed
    assert found.terms[0].value is None
    assert found.terms[0].why


def test_evaluate_with_one_broken_condition_fails(some: Measurements) -> None:
    assert evaluate("ack.p50<1s,connected=7", some, "steady").passed
    found = evaluate("ack.p50<1s,lost=0,connected=7", some, "steady")
    assert not found.passed
    assert [term.passed for term in found.terms] == [True, False, True]


def test_evaluate_on_a_finished_run_accepts_all_kinds_of_figures() -> None:
    run = synthetic_run(steady=10)
    text = (
        "delivery.p99.5<1s,server.rss_kib_per_connection<30KiB,server.cpu_us_per_delivery<90us,login.p99<1s"
    )
    found = evaluate(text, measurements_of(run, "steady"), "steady")
    assert found.passed
    assert all(term.value for term in found.terms)
