"""The search for the limit in time: each step is brought up, left to settle, measured, judged.

Knows the clock of the run, and the conductor. Must not know Locust. Pure.
"""

import math
from enum import Enum, auto
from typing import Final

from chat_swarm.model.schema import Step
from chat_swarm.model.stages import STAGE_SLACK_S, ShapePlan, Stage
from chat_swarm.shapes.capacity_search import CapacitySearch, Trial, judge_step
from chat_swarm.shapes.run_control import RunControl, Window

REST_RATE_SHARE: Final = 0.25
"""Part of the message rate at which a server that just broke may work off what waits, before the next
trial."""

REPORT_TIMEOUT_S: Final = 10.0
"""Seconds that a step's figures are waited for, and that users may come late."""


class _Phase(Enum):
    REST = auto()
    RISE = auto()
    SETTLE = auto()
    MEASURE = auto()


class CapacityRun:
    """Asks a `LimitSearch` what to try, sees to it, tells it how that fared."""

    def __init__(self, plan: ShapePlan, run_control: RunControl, max_users: float = math.inf) -> None:
        """Search as `plan` says; the generator cannot make more than `most` users."""
        self._plan = plan
        self._run_control = run_control
        self._by_users = plan.by == "users"
        self.search = CapacitySearch(
            start=float(plan.users) if self._by_users else 1.0,
            factor=plan.multiplier,
            precision=plan.precision,
            whole_numbers=self._by_users,
            max_load=max_users if self._by_users else math.inf,
        )
        self._per_load: float | None = 1.0 if self._by_users else None
        self._phase = _Phase.RISE
        self._phase_start = 0.0
        """When the phase began."""
        self._step_start = 0.0
        """When the step began."""
        self._users_before = 0
        self._measure_from = 0
        """The first measured second."""

    def stage_at(self, t: float, users: int) -> Stage | None:
        """Return what is wanted now, with so many users running; None when the search is over."""
        if self._plan.run_time is not None and t >= self._plan.run_time:
            self.search.stop("the run time was over")
        elif self._phase is _Phase.MEASURE and t >= self._measure_until:
            self._evaluate_step(t, users)
        if self._phase is _Phase.REST and t >= self._phase_start + self._plan.settle:
            self._enter(_Phase.RISE, t)
            self._step_start = t  # what the load before has left behind is not this one's doing
        if self._phase is _Phase.RISE and self._is_up(t, users):
            self._enter(_Phase.SETTLE, t)
        if self._phase is _Phase.SETTLE and t >= self._phase_start + self._plan.settle:
            self._enter(_Phase.MEASURE, t)
            self._measure_from = math.ceil(t - STAGE_SLACK_S)
        if self.search.load is None:
            self.finish()
            return None
        return self._stage(self.search.load)

    def finish(self) -> None:
        """Write down what is known by now. A second time it changes nothing."""
        self.search.stop("the run ended")
        self._run_control.limit = self.search.result(self._per_load or 1.0)

    @property
    def _measure_until(self) -> int:
        return self._measure_from + math.ceil(self._plan.measure)

    def _enter(self, phase: _Phase, t: float) -> None:
        self._phase, self._phase_start = phase, t

    def _users(self, load: float) -> int:
        return int(load) if self._by_users else self._plan.users

    def _load_label(self, load: float) -> str:
        name = f"{load:,.0f} users" if self._by_users else f"{load:.3g} times the rate"
        return name if self.search.attempt == 1 else f"{name}, again"

    def _stage(self, load: float) -> Stage:
        name, factor = self._load_label(load), 1.0 if self._by_users else load
        if self._phase is _Phase.REST:
            label, factor = f"rest before {name}", factor * REST_RATE_SHARE
        elif self._phase is _Phase.MEASURE:
            label = name
        else:
            label = f"settling: {name}"
        return Stage(
            label=label,
            users=self._users(load),
            spawn_rate=self._plan.spawn_rate,
            rate_factor=factor,
            ends_at=self._plan.run_time,
            is_step=False,
        )

    def _is_up(self, t: float, users: int) -> bool:
        if self.search.load is None:
            return False
        wanted = self._users(self.search.load)
        # What workers report comes late, and a user may have died, so not for ever.
        rise = abs(wanted - self._users_before) / self._plan.spawn_rate
        return users == wanted or t >= self._phase_start + rise + REPORT_TIMEOUT_S

    def _evaluate_step(self, t: float, users: int) -> None:
        """Judge the step that has been measured, if all processes have said what they saw."""
        measured = self._run_control.window(self._measure_from, self._measure_until)
        whole = self._run_control.window(math.floor(self._step_start), self._measure_until)
        if measured is not None and whole is not None:
            self._record_outcome(t, users, measured, judge_step(measured, whole))
        elif t >= self._measure_until + REPORT_TIMEOUT_S:
            silent = Trial(held=False, generator_bound=True, why="a process of the generator fell silent")
            self._record_outcome(t, users, None, silent)

    def _record_outcome(self, t: float, users: int, measured: Window | None, outcome: Trial) -> None:
        load = self.search.load
        assert load is not None
        step = Step(
            label=self._load_label(load),
            start=self._measure_from,
            end=self._measure_until,
            bots=users,
            rate_factor=1.0 if self._by_users else load,
            held=None if outcome.generator_bound else outcome.held,
            generator_bound=outcome.generator_bound,
        )
        if measured is not None:
            step.figures, step.objective = measured.figures, measured.objective
        self._run_control.steps.append(step)
        sent = step.figures.rates.get("sent", 0.0)
        if not self._by_users and sent and (outcome.held or self._per_load is None):
            # What a factor of 1 is in messages a second; a load that held says it best.
            self._per_load = sent / load
        self.search.record_trial(outcome)
        self._run_control.limit = self.search.result(self._per_load or 1.0)
        self._step_start, self._users_before = t, users
        self._enter(_Phase.RISE if outcome.held else _Phase.REST, t)
