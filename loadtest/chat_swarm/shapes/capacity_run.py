"""The capacity search over time: ramp each step up, let it settle, measure it, judge it. Pure."""

import math
from enum import Enum, auto
from typing import Final

from chat_swarm.model.schema import Step
from chat_swarm.model.stages import STAGE_SLACK_S, ShapePlan, Stage
from chat_swarm.shapes.capacity_search import CapacitySearch, Trial, judge_step
from chat_swarm.shapes.run_control import RunControl, Window

REST_RATE_SHARE: Final = 0.25
"""Share of the message rate while a server that just broke works off its backlog, before the next trial."""

REPORT_TIMEOUT_S: Final = 10.0
"""Longest wait for the reports of a step, and for users that start late."""


class _Phase(Enum):
    REST = auto()
    RISE = auto()
    SETTLE = auto()
    MEASURE = auto()


class CapacityRun:
    """Runs the trials of a `CapacitySearch`: sets the load, measures it, records the outcome."""

    def __init__(self, plan: ShapePlan, run_control: RunControl, max_users: float = math.inf) -> None:
        """Create a search for `plan`; the generator can run `max_users` users at most."""
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
        """Start of the phase."""
        self._step_start = 0.0
        """Start of the step."""
        self._users_before = 0
        self._measure_from = 0
        """First measured second."""

    def stage_at(self, t: float, users: int) -> Stage | None:
        """Return the stage at `t`, with `users` running; None when the search is over."""
        if self._plan.run_time is not None and t >= self._plan.run_time:
            self.search.stop("the run time was over")
        elif self._phase is _Phase.MEASURE and t >= self._measure_until:
            self._evaluate_step(t, users)
        if self._phase is _Phase.REST and t >= self._phase_start + self._plan.settle:
            self._enter(_Phase.RISE, t)
            self._step_start = t  # effects of the previous load do not count against this one
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
        """End the search and write its result. A second call changes nothing."""
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
        # Reports of workers are late, and a user may have died: so not without a time limit.
        rise = abs(wanted - self._users_before) / self._plan.spawn_rate
        return users == wanted or t >= self._phase_start + rise + REPORT_TIMEOUT_S

    def _evaluate_step(self, t: float, users: int) -> None:
        """Judge the measured step, if all processes have reported its seconds."""
        measured = self._run_control.window(self._measure_from, self._measure_until)
        whole = self._run_control.window(math.floor(self._step_start), self._measure_until)
        if measured is not None and whole is not None:
            self._record_outcome(t, users, measured, judge_step(measured, whole))
        elif t >= self._measure_until + REPORT_TIMEOUT_S:
            silent = Trial(held=False, generator_bound=True, why="a bot process stopped reporting")
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
            # Messages a second at factor 1; a load that held gives the best estimate.
            self._per_load = sent / load
        self.search.record_trial(outcome)
        self._run_control.limit = self.search.result(self._per_load or 1.0)
        self._step_start, self._users_before = t, users
        self._enter(_Phase.RISE if outcome.held else _Phase.REST, t)
