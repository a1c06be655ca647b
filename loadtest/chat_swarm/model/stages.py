"""Load shapes: what is wanted at each moment of a run.

Knows seconds, users and rates. Must not know Locust, nor how anything comes about. Pure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

NO_SHAPE: Final = "none"
SHAPES: Final = {
    NO_SHAPE: "all users at the spawn rate, then constant",
    "ramp": "from none to all users, evenly over the run time; without one at the spawn rate, then all stay",
    "steps": "equal steps up to all users",
    "burst": "all users; every so often the message rate is multiplied for some seconds",
    "storm": "all users; every so often a share of the connections is cut, and comes back",
    "soak": "all users, constant; does anything drift?",
    "limit": "higher and higher until the SLO breaks: what is the most that holds?",
}
"""All shapes, and what each does."""

DEFAULT_FACTORS: Final = {"burst": 5.0, "limit": 1.25}
STAGE_SLACK_S: Final = 0.1
"""Seconds by which a stage may come late and still have that second: Locust asks about once a second."""

DEFAULT_STEP_S: Final = 30.0
"""A step where no run time is given, and how long a ramp's users then stay when all are there: a run that
ended as soon as they are would have no steady second to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapePlan:
    """The options of a shape; times in seconds."""

    kind: str = "none"
    users: int = 1
    spawn_rate: float = 1.0
    """Users started or stopped a second."""
    run_time: float | None = None
    """Of the whole run, its rise too; None: until it is stopped, or the shape has an end of its own."""
    every: float = 30.0
    """From one burst or storm to the next."""
    lasting: float = 5.0
    """How long a burst lasts."""
    factor: float = 0.0
    """What a burst multiplies the message rate by, or a step of the search its load; 0: `DEFAULT_FACTOR`."""
    share: float = 0.5
    """Part of the connections that a storm cuts."""
    spread: float = 0.0
    """Over how long a storm's cuts are spread; 0: all at once."""
    steps: int = 5
    by: str = "rate"
    """What the search for the limit raises: `rate` (at constant users) or `users`."""
    settle: float = 5.0
    """How long a step of the search runs before it is measured."""
    measure: float = 10.0
    """How long it is measured."""
    precision: float = 0.05
    """How near to each other what held and what broke must come, as a part."""

    @property
    def multiplier(self) -> float:
        """The factor, or the shape's own default."""
        return self.factor or DEFAULT_FACTORS.get(self.kind, 1.0)

    def invalid_reason(self) -> str:
        """Return why the plan makes no sense; "" if it does."""
        checks = (
            (self.kind not in SHAPES, f"there is no shape {self.kind!r}; there are {', '.join(SHAPES)}"),
            (self.users < 1, "a shape needs at least one user (-u)"),
            (not self.spawn_rate > 0, "the spawn rate (-r) must be above 0"),
            (self.run_time is not None and self.run_time <= 0, "the run time (-t) must be above 0"),
            (not 0 < self.share <= 1, "--shape-share must be above 0 and at most 1"),
            (self.spread < 0, "--shape-spread must not be below 0"),
            (self.steps < 1, "--shape-steps must be at least 1"),
            (self.factor < 0, "--shape-factor must not be below 0"),
            (
                self.kind == "burst" and not 0 < self.lasting < self.every,
                "--shape-for must be above 0 and below --shape-every, or a burst would never end",
            ),
            (
                self.kind == "storm" and self.spread >= self.every,
                "--shape-spread must be below --shape-every, or a storm would never end",
            ),
            (not self.every > 0, "--shape-every must be above 0"),
            (self.by not in {"rate", "users"}, "--shape-by must be rate or users"),
            (self.kind == "limit" and self.multiplier <= 1, "--shape-factor must be above 1 to find a limit"),
            (
                self.kind == "limit" and not 0 < self.precision < 1,
                "--shape-precision must be between 0 and 1",
            ),
            (self.settle < 0, "--shape-settle must not be below 0"),
            (self.measure < 1, "--shape-measure must be at least 1"),
        )
        return next((text for wrong, text in checks if wrong), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is wanted from its beginning on. Two stages that follow each other are never equal."""

    label: str
    users: int
    spawn_rate: float
    rate_factor: float = 1.0
    cut_share: float = 0.0
    """Part of the connections to cut when the stage begins."""
    cut_spread: float = 0.0
    ends_at: float | None = None
    """Seconds since the run began, if that is known."""
    is_step: bool = True
    """Whether it is a step for the summary; a rise is none."""


def planned_stage(plan: ShapePlan, t: float, up_at: float | None) -> Stage | None:
    """Return what `plan` wants `t` seconds after the run began; None: the run is over.

    `up_at` is when all the users first ran, None as long as they do not.
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
"""Those whose stages follow from the time alone; the search for the limit follows from what is measured."""


def reachable_users(wanted: Stage, t: float, users: int) -> int:
    """Return how many of the wanted users can be there when the stage ends, from `users` now.

    Locust's master asks nobody for anything while it starts users, so it must not be told to start more than
    it can within the stage, or the run would end late.
    """
    if wanted.ends_at is None:
        return wanted.users
    most = max(1, math.ceil((wanted.ends_at - t) * wanted.spawn_rate - 1e-9))
    return max(users - most, min(users + most, wanted.users))
