"""Load shapes as functions of time: users, spawn rate, message rate and cuts at time t of a run. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

NO_SHAPE: Final = "none"
SHAPES: Final = {
    NO_SHAPE: "all users at the spawn rate, then constant",
    "ramp": "from 0 to all users over the run time; without one at the spawn rate, then constant",
    "steps": "equal steps up to all users",
    "burst": "all users; at intervals the message rate is multiplied for some seconds",
    "storm": "all users; at intervals a share of the connections is cut, and reconnects",
    "soak": "all users, constant; the report checks for drift",
    "limit": "increasing load until the SLO breaks: finds the highest load that holds",
}
"""All shapes, with their help texts."""

DEFAULT_FACTORS: Final = {"burst": 5.0, "limit": 1.25}
STAGE_SLACK_S: Final = 0.1
"""Delay of a stage that still leaves it its first second: Locust calls the shape about once a second."""

DEFAULT_STEP_S: Final = 30.0
"""Length of a step without a run time, and of the constant part after such a ramp: a run that ended with the
ramp would have no steady second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapePlan:
    """The options of a load shape; times are in seconds."""

    kind: str = "none"
    users: int = 1
    spawn_rate: float = 1.0
    """Users started or stopped per second."""
    run_time: float | None = None
    """Length of the whole run, ramp-up included; None: until stopped, or until the shape ends by itself."""
    every: float = 30.0
    """Interval from one burst or storm to the next."""
    lasting: float = 5.0
    """Length of a burst."""
    factor: float = 0.0
    """Factor of the message rate in a burst, or of the load from step to step of a search; 0:
    `DEFAULT_FACTORS`."""
    share: float = 0.5
    """Share of the connections that a storm cuts."""
    spread: float = 0.0
    """Time over which a storm's cuts are spread; 0: all at once."""
    steps: int = 5
    by: str = "rate"
    """What the capacity search increases: `rate` (at constant users) or `users`."""
    settle: float = 5.0
    """Time that a step of the search runs before it is measured."""
    measure: float = 10.0
    """Time that it is measured."""
    precision: float = 0.05
    """The search ends when the load that broke is at most this share above the load that held."""

    @property
    def multiplier(self) -> float:
        """The factor, or the default of this shape."""
        return self.factor or DEFAULT_FACTORS.get(self.kind, 1.0)

    def invalid_reason(self) -> str:
        """Return why the plan is invalid, as a sentence for the user; "" if it is valid."""
        checks = (
            (self.kind not in SHAPES, f"unknown shape {self.kind!r}; the shapes are {', '.join(SHAPES)}"),
            (self.users < 1, f"the number of users (-u) must be at least 1, not {self.users}"),
            (not self.spawn_rate > 0, f"the spawn rate (-r) must be above 0, not {self.spawn_rate}"),
            (
                self.run_time is not None and self.run_time <= 0,
                f"the run time (-t) must be above 0, not {self.run_time}",
            ),
            (not 0 < self.share <= 1, f"--shape-share must be above 0 and at most 1, not {self.share}"),
            (self.spread < 0, f"--shape-spread must be at least 0, not {self.spread}"),
            (self.steps < 1, f"--shape-steps must be at least 1, not {self.steps}"),
            (self.factor < 0, f"--shape-factor must be at least 0, not {self.factor}"),
            (
                self.kind == "burst" and not 0 < self.lasting < self.every,
                "--shape-for must be above 0 and below --shape-every, or a burst would never end",
            ),
            (
                self.kind == "storm" and self.spread >= self.every,
                "--shape-spread must be below --shape-every, or a storm would never end",
            ),
            (not self.every > 0, f"--shape-every must be above 0, not {self.every}"),
            (self.by not in {"rate", "users"}, f"--shape-by must be rate or users, not {self.by}"),
            (self.kind == "limit" and self.multiplier <= 1, "--shape-factor must be above 1 to find a limit"),
            (
                self.kind == "limit" and not 0 < self.precision < 1,
                f"--shape-precision must be between 0 and 1, not {self.precision}",
            ),
            (self.settle < 0, f"--shape-settle must be at least 0, not {self.settle}"),
            (self.measure < 1, f"--shape-measure must be at least 1, not {self.measure}"),
        )
        return next((text for wrong, text in checks if wrong), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The load from the start of the stage on. Two consecutive stages are never equal."""

    label: str
    users: int
    spawn_rate: float
    rate_factor: float = 1.0
    cut_share: float = 0.0
    """Share of the connections to cut when the stage starts."""
    cut_spread: float = 0.0
    """Seconds over which the cuts are spread; 0: all at once."""
    ends_at: float | None = None
    """End of the stage, in seconds since the start of the run; None if unknown."""
    is_step: bool = True
    """Whether the summary has a step for it; not so for the ramp-up."""


def planned_stage(plan: ShapePlan, t: float, up_at: float | None) -> Stage | None:
    """Return the stage of `plan` at `t` seconds since the start of the run; None: the run is over.

    `up_at` is the time at which all users first ran; None until then.
    """
    if plan.run_time is not None and t >= plan.run_time:
        return None
    return _STAGES[plan.kind](plan, t, up_at)


def _ramp(plan: ShapePlan, t: float, _up_at: float | None) -> Stage | None:
    seconds = plan.run_time or plan.users / plan.spawn_rate
    if t >= seconds:
        ends = seconds + DEFAULT_STEP_S
        if t >= ends:
            return None
        return Stage(
            label=f"all {plan.users:,} users", users=plan.users, spawn_rate=plan.spawn_rate, ends_at=ends
        )
    return Stage(label="ramp", users=plan.users, spawn_rate=plan.users / seconds, ends_at=seconds)


def _steps(plan: ShapePlan, t: float, _up_at: float | None) -> Stage | None:
    seconds = plan.run_time / plan.steps if plan.run_time else DEFAULT_STEP_S
    number = math.floor(t / seconds) + 1
    if number > plan.steps:
        return None
    users = math.ceil(plan.users * number / plan.steps)
    label = f"step {number} of {plan.steps}: {users:,} users"
    return Stage(label=label, users=users, spawn_rate=plan.spawn_rate, ends_at=number * seconds)


def _rise(plan: ShapePlan) -> Stage:
    return Stage(
        label="rise", users=plan.users, spawn_rate=plan.spawn_rate, ends_at=plan.run_time, is_step=False
    )


def _burst(plan: ShapePlan, t: float, up_at: float | None) -> Stage:
    if up_at is None:
        return _rise(plan)
    number, since = divmod(t - up_at, plan.every)
    if number and since < plan.lasting:
        label, factor, ends = f"burst {number:.0f}", plan.multiplier, plan.lasting
    else:
        label, factor, ends = f"calm {number + 1:.0f}", 1.0, plan.every
    return Stage(
        label=label,
        users=plan.users,
        spawn_rate=plan.spawn_rate,
        rate_factor=factor,
        ends_at=up_at + number * plan.every + ends,
    )


def _storm(plan: ShapePlan, t: float, up_at: float | None) -> Stage:
    if up_at is None:
        return _rise(plan)
    number = math.floor((t - up_at) / plan.every)
    return Stage(
        label=f"storm {number}" if number else "calm",
        users=plan.users,
        spawn_rate=plan.spawn_rate,
        cut_share=plan.share if number else 0.0,
        cut_spread=plan.spread,
        ends_at=up_at + (number + 1) * plan.every,
    )


def _soak(plan: ShapePlan, _t: float, up_at: float | None) -> Stage:
    if up_at is None:
        return _rise(plan)
    return Stage(label="soak", users=plan.users, spawn_rate=plan.spawn_rate, ends_at=plan.run_time)


_STAGES: Final[dict[str, Callable[[ShapePlan, float, float | None], Stage | None]]] = {
    "ramp": _ramp,
    "steps": _steps,
    "burst": _burst,
    "storm": _storm,
    "soak": _soak,
}
"""The shapes that depend on time alone; the capacity search depends on measurements."""


def reachable_users(wanted: Stage, t: float, users: int) -> int:
    """Return how many of the stage's users can be running when the stage ends, given `users` at time `t`.

    Locust's master does not call the shape while it starts users. So it must not get a larger target than it
    can reach within the stage, or the run would end late.
    """
    if wanted.ends_at is None:
        return wanted.users
    most = max(1, math.ceil((wanted.ends_at - t) * wanted.spawn_rate - 1e-9))
    return max(users - most, min(users + most, wanted.users))
