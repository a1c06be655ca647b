"""The capacity search ends, and ends at the capacity."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.schema import CapacityResult, Objective, Quantiles, Scope, SloTerm, Step
from chat_swarm.model.stages import ShapePlan, Stage
from chat_swarm.shapes.capacity_run import REPORT_TIMEOUT_S, CapacityRun
from chat_swarm.shapes.capacity_search import MAX_TRIALS, CapacitySearch, Trial, judge_step
from chat_swarm.shapes.run_control import Window

HELD, BROKE = Trial(held=True), Trial(held=False, why="too slow")
BOUND = Trial(held=False, generator_bound=True)


def run_to_end(search: CapacitySearch, capacity: float) -> list[float]:
    loads = []
    while search.load is not None:
        loads.append(search.load)
        search.record_trial(HELD if search.load <= capacity else BROKE)
    return loads


@given(st.floats(0.02, 200), st.floats(1.05, 4), st.floats(0.01, 0.5))
def test_search_finds_the_capacity_to_the_precision(capacity: float, factor: float, precision: float) -> None:
    search = CapacitySearch(start=1.0, factor=factor, precision=precision)
    loads = run_to_end(search, capacity)
    growth = abs(math.log(capacity)) / math.log(factor) + 2
    bisection = max(0.0, math.log2(math.log(factor) / math.log(1 + precision))) + 2
    if len(loads) < MAX_TRIALS:
        assert search.held is not None
        assert search.broke is not None
        assert search.held <= capacity < search.broke <= search.held * (1 + precision) * (1 + 1e-9)
        assert len(loads) <= 2 * (growth + bisection)
        assert not search.at_least


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.floats(1.1, 3), st.floats(0.01, 0.5))
def test_search_by_users_tries_whole_numbers(
    start: int, capacity: int, factor: float, precision: float
) -> None:
    search = CapacitySearch(start=float(start), factor=factor, precision=precision, whole_numbers=True)
    loads = run_to_end(search, capacity)
    assert all(load == int(load) >= 1 for load in loads)
    if len(loads) < MAX_TRIALS:
        assert search.held is not None
        assert search.broke is not None
        assert search.held <= capacity < search.broke
        assert search.broke <= max(search.held + 1, search.held * (1 + precision))


@given(st.floats(5, 50), st.lists(st.booleans(), max_size=200))
def test_search_ignores_single_hiccups(capacity: float, hiccups: list[bool]) -> None:
    # Given a server that breaks now and then for no reason, but never twice in a row
    search, calm = CapacitySearch(start=1.0), CapacitySearch(start=1.0)
    hiccup = iter(hiccups)
    while search.load is not None:
        spoilt = search.attempt == 1 and next(hiccup, False)
        search.record_trial(BROKE if spoilt or search.load > capacity else HELD)
    # Then the same is found as without
    run_to_end(calm, capacity)
    assert (search.held, search.broke) == (calm.held, calm.broke)


@given(st.lists(st.sampled_from([HELD, BROKE, BOUND]), min_size=MAX_TRIALS), st.booleans())
def test_search_ends_for_any_outcomes(outcomes: list[Trial], whole: bool) -> None:
    search = CapacitySearch(start=7.0, whole_numbers=whole)
    for outcome in outcomes:
        if search.load is None:
            break
        search.record_trial(outcome)
    assert search.load is None
    assert search.trials <= MAX_TRIALS
    assert search.why
    if search.held is not None and search.broke is not None:
        assert search.held < search.broke


def test_search_limited_by_the_generator_reports_at_least() -> None:
    search = CapacitySearch(start=100.0, factor=2.0, whole_numbers=True)
    search.record_trial(HELD)
    search.record_trial(BOUND)
    assert search.load == 200  # once may be chance
    search.record_trial(BOUND)
    assert search.result() == CapacityResult(
        by="users", held=100.0, broke=None, at_least=True, why="the generator did not keep up at 200"
    )


def test_search_without_any_load_that_holds() -> None:
    search = CapacitySearch(start=4.0, factor=2.0, whole_numbers=True)
    assert run_to_end(search, 0) == [4, 4, 2, 2, 1, 1]
    assert search.result().held is None
    assert "not even the lowest load held; too slow" in search.why


def test_search_never_exceeds_the_generators_maximum() -> None:
    search = CapacitySearch(start=100.0, factor=2.0, whole_numbers=True, max_load=300)
    assert run_to_end(search, 10_000) == [100, 200, 300]
    assert search.at_least


def test_record_trial_after_the_end_is_refused() -> None:
    search = CapacitySearch(start=1.0)
    search.stop("enough")
    search.stop("again")
    assert search.why == "enough"
    with pytest.raises(ValueError, match="over"):
        search.record_trial(HELD)


def test_search_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot search"):
        CapacitySearch(start=1.0, factor=1.0)


# ---- judging a step


def waited(count: int, p50: int) -> dict[str, Quantiles]:
    return {"held_up": Quantiles(count=count, p50=p50)}


def window(
    counts: dict[str, int],
    *,
    passed: bool = True,
    bound: bool = False,
    metrics: dict[str, Quantiles] | None = None,
) -> Window:
    term = SloTerm(text="delivery.p99<100ms", passed=passed, value=123.4, limit=100.0, unit="ms")
    objective = Objective(text="", scope="all", passed=passed, terms=[term])
    return Window(
        figures=Scope(counts=counts, metrics=metrics or {}), objective=objective, generator_bound=bound
    )


QUIET = window({})


@pytest.mark.parametrize(
    ("measured", "whole", "why"),
    [
        (
            window({"sent": 100, "acknowledged": 100}, passed=False),
            QUIET,
            "the SLO broke: delivery.p99<100ms (123.4 ms)",
        ),
        (window({"sent": 100, "acknowledged": 95}), window({"connect_failures": 3}), "3 connections failed"),
        (
            window({"sent": 100, "refused": 2, "acknowledged": 98}),
            QUIET,
            "the server refused 2 of 100 messages",
        ),
        (
            window({"sent": 300, "refused": 1, "acknowledged": 283}),
            QUIET,
            "16 of 300 messages were not answered in time",
        ),
        (
            window({"sent": 100, "acknowledged": 99}, metrics=waited(6, 2_000_000)),
            QUIET,
            "6 of 100 messages waited to be sent, half of them over 2.0 s",
        ),
        (window({"sent": 11}), QUIET, "11 of 11 messages were not answered in time"),
    ],
)
def test_judge_step_broken_says_why(measured: Window, whole: Window, why: str) -> None:
    assert judge_step(measured, whole) == Trial(held=False, why=why)


@pytest.mark.parametrize(
    "counts",
    [
        {"sent": 300, "refused": 2, "acknowledged": 283, "delivered": 4_000},
        {"sent": 10, "acknowledged": 0},
        {"sent": 100, "acknowledged": 60, "abandoned": 35},
        {"sent": 100, "acknowledged": 120},  # includes echoes of earlier messages
    ],
)
def test_judge_step_held(counts: dict[str, int]) -> None:
    assert judge_step(window(counts), QUIET) == HELD


@pytest.mark.parametrize("held_up", [waited(5, 2_000_000), waited(50, 400_000)])
def test_judge_step_with_short_or_rare_waits_holds(held_up: dict[str, Quantiles]) -> None:
    assert judge_step(window({"sent": 100, "acknowledged": 100}, metrics=held_up), QUIET) == HELD


def test_judge_step_with_an_overloaded_generator_is_unknown() -> None:
    assert judge_step(window({}, bound=True), QUIET) == BOUND


# ---- the search over time


@dataclass
class Simulated:
    """A server with a capacity, and a run that reports each second one second later."""

    capacity: float
    base: float = 200.0
    steps: list[Step] = field(default_factory=list)
    limit: CapacityResult | None = None
    now: float = 0.0
    load: float = 0.0
    silent: bool = False
    failures: set[int] = field(default_factory=set)
    """Seconds in which a connection fails."""

    def elapsed(self) -> float:
        return self.now

    def set_rate(self, factor: float) -> None: ...

    def cut_connections(self, share: float, spread_seconds: float) -> None: ...

    def set_label(self, text: str) -> None: ...

    def window(self, since_t: int, until_t: int) -> Window | None:
        assert since_t < until_t
        if self.silent or self.now < until_t + 1:
            return None
        failed = len(self.failures & set(range(since_t, until_t)))
        figures = Scope(rates={"sent": self.load}, counts={"connect_failures": failed})
        return Window(
            figures=figures, objective=Objective(text="", scope="all", passed=self.load <= self.capacity)
        )


def drive(run: CapacityRun, server: Simulated, seconds: int) -> list[Stage]:
    """Call the run once a second, as Locust does, and start users at the spawn rate."""
    stages: list[Stage] = []
    users = 0
    for _ in range(seconds):
        wanted = run.stage_at(server.now, users)
        if wanted is None:
            break
        if not stages or wanted != stages[-1]:
            stages.append(wanted)
        users += max(-10, min(10, wanted.users - users))
        server.load = users * wanted.rate_factor * server.base / 20
        server.now += 1.003
    return stages


def test_capacity_run_by_rate_keeps_the_users() -> None:
    server = Simulated(capacity=1_000.0)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=2.0, measure=3.0)
    stages = drive(CapacityRun(plan, server), server, 600)
    assert {one.users for one in stages} == {20}
    assert server.limit is not None
    assert server.limit.by == "rate"
    assert server.limit.held is not None
    assert server.limit.broke is not None
    assert server.limit.held <= 1_000 < server.limit.broke <= server.limit.held * 1.05
    # Each step is measured over its own seconds
    assert all(step.end - step.start == 3 for step in server.steps)
    assert all(one.end <= two.start for one, two in zip(server.steps, server.steps[1:], strict=False))
    # After a step that broke, the server rests, then the step is tried again
    names = [one.label for one in stages]
    rest = names.index("rest before 5.96 times the rate, again")
    assert names[rest + 1 : rest + 3] == [
        "settling: 5.96 times the rate, again",
        "5.96 times the rate, again",
    ]


def test_capacity_run_ignores_failures_left_by_the_previous_step() -> None:
    # Given a hiccup in the first measured step, and a connection that still fails in the rest after it
    server = Simulated(capacity=1_000.0)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=3.0, measure=3.0)
    run = CapacityRun(plan, server)
    server.failures.add(4)
    while len(server.steps) < 2:
        stage = run.stage_at(server.now, 20)
        assert stage is not None
        if stage.label.startswith("rest") and len(server.failures) == 1:
            server.failures.add(int(server.now) + 1)
        server.load = 20 * stage.rate_factor * 10
        server.now += 1.003
    # Then the second trial of it holds
    assert [step.held for step in server.steps] == [False, True]


def test_capacity_run_by_users_keeps_the_rate() -> None:
    server = Simulated(capacity=1_000.0)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=2.0, measure=3.0, by="users")
    stages = drive(CapacityRun(plan, server), server, 2_000)
    assert {one.rate_factor for one in stages} == {0.25, 1.0}
    assert server.limit is not None
    assert server.limit.held is not None
    assert server.limit.held <= 100 < (server.limit.broke or 0) <= 105


def test_capacity_run_ends_with_the_run_time() -> None:
    server = Simulated(capacity=1e9)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=2.0, measure=3.0, run_time=30.0)
    drive(CapacityRun(plan, server), server, 600)
    assert server.now < 32
    assert server.limit is not None
    assert (server.limit.at_least, server.limit.broke, server.limit.why) == (
        True,
        None,
        "the run time was over",
    )
    assert server.limit.held is not None


def test_capacity_run_with_a_silent_process_ends() -> None:
    server = Simulated(capacity=1e9, silent=True)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=2.0, measure=3.0)
    drive(CapacityRun(plan, server), server, 600)
    assert server.now < 2 * (REPORT_TIMEOUT_S + 12)
    assert server.limit is not None
    assert server.limit.at_least
    assert [step.generator_bound for step in server.steps] == [True, True]


def test_capacity_run_with_a_missing_user_ends() -> None:
    server = Simulated(capacity=1e9)
    plan = ShapePlan(kind="limit", users=20, spawn_rate=10.0, settle=2.0, measure=3.0)
    run = CapacityRun(plan, server)
    while server.now < 60 and not server.steps:
        run.stage_at(server.now, 19)
        server.now += 1
    assert server.steps[0].start <= 20 / 10 + REPORT_TIMEOUT_S + 2 + 1
