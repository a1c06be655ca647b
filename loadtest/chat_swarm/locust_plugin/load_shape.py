"""Load shapes in Locust: installs the shape of the options, and drives it from Locust's `tick`.

Locust calls `tick` about once a second, in its own greenlet. The master does not call it while it starts
users, so a stage never gets more users than can be started before it ends (`stages.reachable_users`).
"""

import logging
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import gevent
from flask import request
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_STOPPED, WorkerRunner

from chat_swarm.model.stages import NO_SHAPE, SHAPES, ShapePlan, Stage, reachable_users
from chat_swarm.shapes.capacity_run import CapacityRun
from chat_swarm.shapes.run_control import RunControl
from chat_swarm.shapes.timed import TimedRun

_LOG: Final = logging.getLogger(__name__)

MAX_IDLE_TICKS: Final = 10
"""Ticks after which a shape gives up if the run has not begun: a master without workers never begins one, and
accepts no other run meanwhile."""


class _ActiveShape(Protocol):
    """A load shape in progress."""

    def stage_at(self, t: float, users: int) -> Stage | None: ...
    def finish(self) -> None: ...


class SwarmShape(LoadTestShape):
    """The load shape of the options, for Locust's next run."""

    abstract = True  # Locust instantiates any other shape class that it finds in a locustfile
    use_common_options = True

    def __init__(
        self,
        run_control: RunControl,
        read_plan: Callable[[], ShapePlan],
        max_users: float = math.inf,
        kind: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run_control = run_control
        self._read_plan = read_plan
        self._max_users = max_users
        self._kind = kind
        self._greenlet: object = None
        self._active: _ActiveShape | None = None
        self._stage: Stage | None = None
        self._applied: Stage | None = None
        self._target = (0, 1.0)
        self._idle = 0
        """Consecutive ticks without a run."""

    def tick(self) -> tuple[int, float] | None:
        """Return (users, spawn rate per second), or None when the shape is over."""
        if self._greenlet is not gevent.getcurrent():  # Locust has a new one for each run
            self._greenlet = gevent.getcurrent()
            if not self._start_shape():
                return None
        assert self._active is not None
        t, users = self._run_control.elapsed(), int(self.get_current_user_count())  # type: ignore[no-untyped-call]
        self._idle = 0 if t > 0 else self._idle + 1
        if self._idle > MAX_IDLE_TICKS:
            _LOG.error("The run did not begin: a master needs at least one worker.")
            return None
        stage = self._active.stage_at(t, users)
        if stage is None:
            self._stage = None
            self._run_control.set_label("")
            return None
        if stage != self._stage:
            self._stage = stage
            target = reachable_users(stage, t, users)
            if target != stage.users:
                _LOG.warning(
                    "%s: only %d of %d users can be started in time at %g per second",
                    stage.label,
                    target,
                    stage.users,
                    stage.spawn_rate,
                )
            self._target = target, stage.spawn_rate
        if t > 0:
            self.apply_stage()
        return self._target

    def apply_stage(self) -> None:
        """Set label, rate and cuts of the current stage. The first stage begins before the run does."""
        stage = self._stage
        if stage is None or stage == self._applied:
            return
        self._applied = stage
        self._run_control.set_label(stage.label)
        self._run_control.set_rate(stage.rate_factor)
        if stage.cut_share:
            self._run_control.cut_connections(stage.cut_share, stage.cut_spread)

    def finish(self) -> None:
        """Write steps and limit to the run control."""
        if self._active is not None:
            self._active.finish()

    def _start_shape(self) -> bool:
        self._active = self._stage = self._applied = None
        self._idle = 0
        plan = self._read_plan()
        plan = replace(plan, kind=self._kind or plan.kind)
        if complaint := plan.invalid_reason():
            _LOG.error("No shape: %s.", complaint)
            return False
        if plan.kind == "limit":
            self._active = CapacityRun(plan, self._run_control, self._max_users)
        else:
            self._active = TimedRun(plan, self._run_control)
        return True


class ShapeChooser:
    """Sets the shape of Locust's next run, in the master or the only process."""

    def __init__(
        self,
        environment: Environment,
        run_control: RunControl,
        read_plan: Callable[[], ShapePlan],
        max_users: float,
    ) -> None:
        self._environment = environment
        self._shape = SwarmShape(run_control, read_plan, max_users)
        environment.events.test_start.add_listener(self._on_test_start)  # type: ignore[no-untyped-call]
        if environment.web_ui is None or environment.web_ui.app is None:
            return
        if environment.web_ui.userclass_picker_is_active:
            environment.available_shape_classes = {
                kind: SwarmShape(run_control, read_plan, max_users, kind)
                for kind in SHAPES
                if kind != NO_SHAPE
            }
        else:
            environment.web_ui.app.before_request(self._before_request)

    def choose(self, kind: str) -> None:
        """Set the shape of the next run; `NO_SHAPE` leaves users and rate to Locust."""
        self._environment.shape_class = None if kind == NO_SHAPE else self._shape
        self._shape.runner = self._environment.runner

    def finish(self) -> None:
        """Write steps and limit to the run control, after the run's last second is reported.

        Does nothing if the run had no shape.
        """
        if isinstance(self._environment.shape_class, SwarmShape):
            self._environment.shape_class.finish()

    def _on_test_start(self, **_: object) -> None:
        if isinstance(self._environment.shape_class, SwarmShape):
            self._environment.shape_class.apply_stage()

    def _before_request(self) -> None:
        """Apply the web form's shape before Locust handles the form: it only checks if a shape is set."""
        runner = self._environment.runner
        if request.method != "POST" or request.endpoint != "locust.swarm" or runner is None:
            return
        kind = request.form.get("shape")
        if kind in SHAPES and runner.state in {STATE_INIT, STATE_STOPPED}:
            self.choose(kind)


def install(
    environment: Environment,
    run_control: RunControl,
    read_plan: Callable[[], ShapePlan],
    max_users: float = math.inf,
) -> ShapeChooser | None:
    """Install the shape of the options, in Locust's `init` event. Returns None in a worker.

    MUST be called after the plugin's own `test_start` listener was added, since the first stage's label and
    rate are set right after it. `max_users` is the capacity of all processes. Exits with code 2 if the
    options are invalid.
    """
    if isinstance(environment.runner, WorkerRunner):
        return None
    plan = read_plan()
    if plan.kind != NO_SHAPE and (complaint := plan.invalid_reason()):
        _LOG.error("No shape: %s.", complaint)
        sys.exit(2)
    shapes = ShapeChooser(environment, run_control, read_plan, max_users)
    shapes.choose(plan.kind)
    return shapes
