"""Confidence intervals: equal distributions mostly overlap, real changes do not."""

from itertools import combinations

import pytest

from chat_swarm.results.confidence import MIN_HALF_WIDTH_SHARE, ConfidenceInterval, confidence_interval
from chat_swarm.results.finished_run import FinishedRun
from chat_swarm.results.metric_refs import look_up_metric, measurements_of, parse_metric_ref
from support.swarm.synthetic_run import synthetic_run

SEED_COUNT = 10


def ranges(name: str, runs: list[FinishedRun]) -> list[ConfidenceInterval]:
    figure = parse_metric_ref(name)
    made = []
    for run in runs:
        value = look_up_metric(figure, measurements_of(run, "steady")).value
        assert value is not None
        found = confidence_interval(figure, value, run.rows_of("steady"), run.summary.peak_connected)
        assert found is not None
        assert (
            found.low
            <= value * (1 - MIN_HALF_WIDTH_SHARE / 2)
            < value * (1 + MIN_HALF_WIDTH_SHARE / 2)
            <= found.high
        )
        made.append(found)
    return made


@pytest.fixture(scope="module", params=[0.0, 0.1], ids=["calm", "drifting"])
def alike(request: pytest.FixtureRequest) -> list[FinishedRun]:
    return [synthetic_run(seed=seed, drift=request.param, samples=300) for seed in range(SEED_COUNT)]


@pytest.mark.parametrize(
    "name",
    ["delivery.p50", "delivery.p99", "delivery.p99.9", "ack.mean", "sent.rate", "server.cpu_us_per_delivery"],
)
def test_intervals_of_equal_distributions_are_rarely_disjoint(alike: list[FinishedRun], name: str) -> None:
    pairs = list(combinations(ranges(name, alike), 2))
    assert sum(a.is_disjoint(b) for a, b in pairs) <= 0.07 * len(pairs)


def test_intervals_of_a_p99_raised_by_half_are_disjoint(alike: list[FinishedRun]) -> None:
    """Given runs whose p99 is 1.5 times as large, nearly every pair of intervals is disjoint."""
    before = ranges("delivery.p99", alike[:4])
    slower = [
        ConfidenceInterval(found.low * 1.5, found.value * 1.5, found.high * 1.5)
        for found in ranges("delivery.p99", alike[4:8])
    ]
    apart = [a.is_disjoint(b) for a in before for b in slower]
    assert sum(apart) >= 0.9 * len(apart)


def test_intervals_of_a_longer_tail_are_disjoint_in_the_tail_only() -> None:
    a = [synthetic_run(seed=seed, samples=500) for seed in range(3)]
    b = [synthetic_run(seed=seed, samples=500, tail=1.25) for seed in range(10, 13)]
    tails = zip(ranges("delivery.p99", a), ranges("delivery.p99", b), strict=True)
    middles = zip(ranges("delivery.p50", a), ranges("delivery.p50", b), strict=True)
    assert all(one.is_disjoint(other) for one, other in tails)
    assert not any(one.is_disjoint(other) for one, other in middles)


@pytest.mark.parametrize(
    "name", ["delivery.max", "delivery.p99.99", "catch_up.p99", "generator.cpu_cores", "errors"]
)
def test_confidence_interval_of_rare_or_single_values_is_none(name: str) -> None:
    run = synthetic_run(steady=30, samples=100)
    assert confidence_interval(parse_metric_ref(name), 1000.0, run.rows_of("steady")) is None


def test_confidence_interval_of_a_short_run_is_none() -> None:
    run = synthetic_run(steady=20)
    assert confidence_interval(parse_metric_ref("delivery.p50"), 1300.0, run.rows_of("steady")) is None


def test_confidence_interval_of_the_same_run_is_deterministic() -> None:
    run = synthetic_run(steady=30, samples=200)
    first, second = (
        confidence_interval(parse_metric_ref("ack.p90"), 2400.0, run.rows_of("steady")) for _ in range(2)
    )
    assert first == second
