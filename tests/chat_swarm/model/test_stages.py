"""Load shapes: the stage at each time, and the steps written for past stages."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.schema import CapacityResult, Objective, Quantiles, Scope, Step
from chat_swarm.model.stages import DEFAULT_STEP_S, ShapePlan, Stage, planned_stage, reachable_users
from chat_swarm.shapes.run_control import Window
from chat_swarm.shapes.timed import TimedRun

RAMP = ShapePlan(kind="ramp", users=600, spawn_rate=50.0, run_time=60.0)
STEPS = ShapePlan(kind="steps", users=100, spawn_rate=50.0, run_time=50.0, steps=5)
BURST = ShapePlan(kind="burst", users=100, spawn_rate=50.0, every=10.0, lasting=2.0)
STORM = ShapePlan(kind="storm", users=100, spawn_rate=50.0, every=10.0, share=0.25, spread=1.0)
SOAK = ShapePlan(kind="soak", users=100, spawn_rate=50.0, run_time=3_600.0)


@dataclass
class FakeRunControl:
    """A run control that has the figures of all seconds before `reported`."""

    steps: list[Step] = field(default_factory=list)
    limit: CapacityResult | None = None
    reported: float = 0.0
    figures: Scope = field(default_factory=Scope)
    objective: Objective | None = None
    generator_bound: bool = False

    def elapsed(self) -> float:
        return 0.0

    def set_rate(self, factor: float) -> None: ...

    def cut_connections(self, share: float, spread_seconds: float) -> None: ...

    def set_label(self, text: str) -> None: ...

    def window(self, since_t: int, until_t: int) -> Window | None:
        assert since_t < until_t
        if until_t > self.reported:
            return None
        return Window(figures=self.figures, objective=self.objective, generator_bound=self.generator_bound)


def labels(plan: ShapePlan, times: list[float], up_at: float | None = 0.0) -> list[str]:
    wanted = [planned_stage(plan, t, up_at) for t in times]
    return [one.label if one else "over" for one in wanted]


def test_ramp_takes_the_whole_run_time() -> None:
    wanted = planned_stage(RAMP, 0.0, None)
    assert wanted is not None
    assert (wanted.users, wanted.spawn_rate) == (600, 10.0)
    assert planned_stage(RAMP, 59.9, None) == wanted
    assert planned_stage(RAMP, 60.0, None) is None


def test_ramp_without_run_time_uses_the_spawn_rate_then_stays_constant() -> None:
    plan = replace(RAMP, run_time=None)
    wanted = planned_stage(plan, 0.0, None)
    assert wanted is not None
    assert (wanted.spawn_rate, wanted.ends_at) == (50.0, 12.0)
    # Then there are seconds with all users, also if the ramp itself had none
    staying = planned_stage(plan, 12.0, None)
    assert staying is not None
    assert (staying.label, staying.users, staying.ends_at) == ("all 600 users", 600, 12.0 + DEFAULT_STEP_S)
    assert planned_stage(plan, 11.9 + DEFAULT_STEP_S, 12.0) == staying
    assert planned_stage(plan, 12.0 + DEFAULT_STEP_S, 12.0) is None


def test_steps_have_equal_height_and_length() -> None:
    steps = [planned_stage(STEPS, t, None) for t in (0.0, 9.9, 10.0, 20.0, 30.0, 49.9)]
    assert [one.users for one in steps if one] == [20, 20, 40, 60, 80, 100]
    assert planned_stage(STEPS, 50.0, None) is None
    assert labels(STEPS, [12.0]) == ["step 2 of 5: 40 users"]


def test_burst_starts_at_its_interval_and_ends() -> None:
    times = [0.0, 9.9, 10.0, 11.9, 12.0, 19.9, 20.0]
    assert labels(BURST, times) == ["calm 1", "calm 1", "burst 1", "burst 1", "calm 2", "calm 2", "burst 2"]
    assert [one.rate_factor for t in (9.9, 10.0, 12.0) if (one := planned_stage(BURST, t, 0.0))] == [
        1.0,
        5.0,
        1.0,
    ]
    assert labels(BURST, [0.0, 500.0], up_at=None) == ["rise", "rise"]


def test_storm_cuts_at_its_start() -> None:
    assert labels(STORM, [3.0, 12.9, 13.0, 23.0], up_at=3.0) == ["calm", "calm", "storm 1", "storm 2"]
    calm, storm = planned_stage(STORM, 3.0, 3.0), planned_stage(STORM, 13.0, 3.0)
    assert calm is not None
    assert storm is not None
    assert (calm.cut_share, storm.cut_share, storm.cut_spread) == (0.0, 0.25, 1.0)


def test_soak_is_constant_for_the_run_time() -> None:
    assert labels(SOAK, [2.0, 3_599.0, 3_600.0]) == ["soak", "soak", "over"]


plans = st.builds(
    ShapePlan,
    kind=st.sampled_from(["ramp", "steps", "burst", "storm", "soak"]),
    users=st.integers(1, 20_000),
    spawn_rate=st.floats(0.1, 5_000),
    run_time=st.none() | st.floats(1, 10_000),
    every=st.floats(2, 1_000),
    lasting=st.floats(0.1, 1.9),
    share=st.floats(0.01, 1),
    steps=st.integers(1, 50),
)


@given(plans, st.floats(0, 20_000), st.none() | st.floats(0, 5_000))
def test_planned_stage_of_any_plan_is_possible(plan: ShapePlan, t: float, up_at: float | None) -> None:
    assert plan.invalid_reason() == ""
    wanted = planned_stage(plan, t, up_at if up_at is not None and up_at <= t else None)
    if wanted is None:
        return
    assert plan.run_time is None or t < plan.run_time
    assert 1 <= wanted.users <= plan.users
    assert wanted.spawn_rate > 0
    assert wanted.rate_factor > 0
    assert wanted.ends_at is None or wanted.ends_at >= t


@given(
    st.integers(0, 5_000), st.integers(0, 5_000), st.floats(0.1, 500), st.floats(0, 900), st.floats(0.1, 900)
)
def test_reachable_users_can_start_in_time(
    users: int, wanted: int, rate: float, t: float, left: float
) -> None:
    target = reachable_users(Stage(label="", users=wanted, spawn_rate=rate, ends_at=t + left), t, users)
    assert min(users, wanted) <= target <= max(users, wanted)
    assert (abs(target - users) - 1) / rate <= left + 1e-6
    assert target == wanted or abs(target - users) + 1 >= left * rate - 1e-6


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (ShapePlan(kind="wave"), "unknown shape 'wave'"),
        (ShapePlan(users=0), "at least 1, not 0"),
        (ShapePlan(spawn_rate=0.0), "-r"),
        (ShapePlan(run_time=0.0), "-t"),
        (ShapePlan(share=1.1), "--shape-share"),
        (ShapePlan(spread=-1.0), "--shape-spread"),
        (ShapePlan(kind="storm", spread=30.0), "storm would never end"),
        (ShapePlan(steps=0), "--shape-steps"),
        (ShapePlan(factor=-1.0), "--shape-factor"),
        (ShapePlan(kind="limit", factor=1.0), "--shape-factor"),
        (ShapePlan(kind="limit", precision=0.0), "--shape-precision"),
        (ShapePlan(kind="burst", lasting=30.0), "burst would never end"),
        (ShapePlan(every=0.0), "--shape-every"),
        (ShapePlan(by="bots"), "--shape-by"),
        (ShapePlan(settle=-1.0), "--shape-settle"),
        (ShapePlan(measure=0.0), "--shape-measure"),
    ],
)
def test_invalid_plan_says_why(plan: ShapePlan, complaint: str) -> None:
    assert complaint in plan.invalid_reason()


def test_step_starts_with_all_its_users_and_is_written_with_its_figures() -> None:
    # Given steps of 10 s, whose users need 3 s
    run_control = FakeRunControl(objective=Objective(text="", scope="all", passed=True))
    run = TimedRun(STEPS, run_control)
    for t in range(3):
        run.stage_at(float(t), t * 6)
    for t in range(3, 12):
        run.stage_at(t + 0.05, 20)
    # When the figures of the first one are not reported yet, nothing is written
    assert run_control.steps == []
    # Then it is, without its ramp-up
    run_control.reported = 10
    run.stage_at(12.0, 40)
    assert [(step.label, step.start, step.end, step.bots, step.held) for step in run_control.steps] == [
        ("step 1 of 5: 20 users", 3, 10, 20, True)
    ]


def test_stage_at_the_end_of_the_run_is_written_once() -> None:
    run_control = FakeRunControl(reported=99, generator_bound=True)
    run = TimedRun(SOAK, run_control)
    for t in range(8):
        run.stage_at(float(t), 100)
    run.finish()
    run.finish()
    assert [(step.label, step.start, step.end, step.held) for step in run_control.steps] == [
        ("soak", 0, 7, None)
    ]


def test_storm_step_says_how_the_connections_resumed() -> None:
    figures = Scope(
        counts={"cuts": 1_250, "resumed": 1_249}, metrics={"resume": Quantiles(count=1_249, max=2_345_678)}
    )
    run_control = FakeRunControl(reported=99, figures=figures)
    run = TimedRun(STORM, run_control)
    for t in range(21):
        run.stage_at(float(t), 100)
    assert run_control.steps[1].label == "storm 1: 1,250 cut, 1,249 resumed, the last after 2.35 s"
