"""The search for the limit in time: each step is brought up, left to settle, measured, judged.

Knows the clock of the run, and the conductor. Must not know Locust. Pure.
"""

import math
from enum import Enum, auto
from typing import Final

from chat_swarm.model.schema import Step
from chat_swarm.model.stages import SLACK, ShapePlan, Stage
from chat_swarm.shapes.capacity_search import LimitSearch, Trial, trial
from chat_swarm.shapes.run_control import Conductor, Window

REST: Final = 0.25
"""Part of the message rate at which a server that just broke may work off what waits, before the next
trial."""

PATIENCE: Final = 10.0
"""Seconds that a step's figures are waited for, and that users may come late."""


class _Phase(Enum):
    REST = auto()
    RISE = auto()
    SETTLE = auto()
    MEASURE = auto()


class LimitRun:
    """Asks a `LimitSearch` what to try, sees to it, tells it how that fared."""

    def __init__(self, plan: ShapePlan, conductor: Conductor, most: float = math.inf) -> None:
        """Search as `plan` says; the generator cannot make more than `most` users."""
        self._plan = plan
        self._conductor = conductor
        self._by_users = plan.by == "users"
        self.search = LimitSearch(
            start=float(plan.users) if self._by_users else 1.0,
            factor=plan.multiplier,
            precision=plan.precision,
            whole=self._by_users,
            most=most if self._by_users else math.inf,
        )
        self._unit: float | None = 1.0 if self._by_users else None
        self._phase = _Phase.RISE
        self._since = 0.0
        """When the phase began."""
        self._began = 0.0
        """When the step began."""
        self._users_before = 0
        self._from = 0
        """The first measured second."""

    def at(self, t: float, users: int) -> Stage | None:
        """Return what is wanted now, with so many users running; None when the search is over."""
        if self._plan.run_time is not None and t >= self._plan.run_time:
            self.search.stop("the run time was over")
        elif self._phase is _Phase.MEASURE and t >= self._until:
            self._look(t, users)
        if self._phase is _Phase.REST and t >= self._since + self._plan.settle:
            self._enter(_Phase.RISE, t)
            self._began = t  # what the load before has left behind is not this one's doing
        if self._phase is _Phase.RISE and self._is_up(t, users):
            self._enter(_Phase.SETTLE, t)
        if self._phase is _Phase.SETTLE and t >= self._since + self._plan.settle:
            self._enter(_Phase.MEASURE, t)
            self._from = math.ceil(t - SLACK)
        if self.search.load is None:
            self.finish()
            return None
        return self._stage(self.search.load)

    def finish(self) -> None:
        """Write down what is known by now. A second time it changes nothing."""
        self.search.stop("the run ended")
        self._conductor.limit = self.search.limit(self._unit or 1.0)

    @property
    def _until(self) -> int:
        return self._from + math.ceil(self._plan.measure)

    def _enter(self, phase: _Phase, t: float) -> None:
        self._phase, self._since = phase, t

    def _users(self, load: float) -> int:
        return int(load) if self._by_users else self._plan.users

    def _name(self, load: float) -> str:
        name = f"{load:,.0f} users" if self._by_users else f"{load:.3g} times the rate"
        return name if self.search.attempt == 1 else f"{name}, again"

    def _stage(self, load: float) -> Stage:
        name, factor = self._name(load), 1.0 if self._by_users else load
        if self._phase is _Phase.REST:
            label, factor = f"rest before {name}", factor * REST
        elif self._phase is _Phase.MEASURE:
            label = name
        else:
            label = f"settling: {name}"
        return Stage(
            label=label,
            users=self._users(load),
            spawn_rate=self._plan.spawn_rate,
            rate_factor=factor,
            ends=self._plan.run_time,
            counts=False,
        )

    def _is_up(self, t: float, users: int) -> bool:
        if self.search.load is None:
            return False
        wanted = self._users(self.search.load)
        # What workers report comes late, and a user may have died, so not for ever.
        rise = abs(wanted - self._users_before) / self._plan.spawn_rate
        return users == wanted or t >= self._since + rise + PATIENCE

    def _look(self, t: float, users: int) -> None:
        """Judge the step that has been measured, if all processes have said what they saw."""
        measured = self._conductor.window(self._from, self._until)
        whole = self._conductor.window(math.floor(self._began), self._until)
        if measured is not None and whole is not None:
            self._judge(t, users, measured, trial(measured, whole))
        elif t >= self._until + PATIENCE:
            silent = Trial(held=False, generator_bound=True, why="a process of the generator fell silent")
            self._judge(t, users, None, silent)

    def _judge(self, t: float, users: int, measured: Window | None, outcome: Trial) -> None:
        load = self.search.load
        assert load is not None
        step = Step(
            label=self._name(load),
            start=self._from,
            end=self._until,
            bots=users,
            rate_factor=1.0 if self._by_users else load,
            held=None if outcome.generator_bound else outcome.held,
            generator_bound=outcome.generator_bound,
        )
        if measured is not None:
            step.figures, step.objective = measured.figures, measured.objective
        self._conductor.steps.append(step)
        sent = step.figures.rates.get("sent", 0.0)
        if not self._by_users and sent and (outcome.held or self._unit is None):
            # What a factor of 1 is in messages a second; a load that held says it best.
            self._unit = sent / load
        self.search.judge(outcome)
        self._conductor.limit = self.search.limit(self._unit or 1.0)
        self._began, self._users_before = t, users
        self._enter(_Phase.RISE if outcome.held else _Phase.REST, t)
