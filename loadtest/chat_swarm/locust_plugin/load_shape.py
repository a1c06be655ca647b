"""Load shapes in Locust: put in place when one is asked for, and driven by Locust's own clockwork.

Knows Locust's shape hook, and the conductor. Must not know how the run does what it is asked.

Locust calls `tick` about once a second in a greenlet of its own. Its master asks nothing while it starts
users, so a stage is never given more users than can be there when it ends (`stages.reachable`).
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
"""Times that Locust may ask before the run has begun. A master without workers begins none, and would take no
other try while this one lasts."""


class _ActiveShape(Protocol):
    """A shape under way."""

    def stage_at(self, t: float, users: int) -> Stage | None: ...
    def finish(self) -> None: ...


class SwarmShape(LoadTestShape):
    """The shape of the options, in whatever run comes next."""

    abstract = True  # Locust makes one of every other shape class that it finds in a locustfile
    use_common_options = True

    def __init__(
        self,
        conductor: RunControl,
        read_plan: Callable[[], ShapePlan],
        max_users: float = math.inf,
        kind: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._conductor = conductor
        self._read_plan = read_plan
        self._max_users = max_users
        self._kind = kind
        self._greenlet: object = None
        self._active: _ActiveShape | None = None
        self._stage: Stage | None = None
        self._applied: Stage | None = None
        self._target = (0, 1.0)
        self._idle = 0
        """How often Locust has asked while no run was on."""

    def tick(self) -> tuple[int, float] | None:
        """Return (users, users to start or stop a second), or None when the shape is over."""
        if self._greenlet is not gevent.getcurrent():  # Locust has a new one for each run
            self._greenlet = gevent.getcurrent()
            if not self._start_shape():
                return None
        assert self._active is not None
        t, users = self._conductor.elapsed(), int(self.get_current_user_count())  # type: ignore[no-untyped-call]
        self._idle = 0 if t > 0 else self._idle + 1
        if self._idle > MAX_IDLE_TICKS:
            _LOG.error("No run began: a master needs at least one worker.")
            return None
        stage = self._active.stage_at(t, users)
        if stage is None:
            self._stage = None
            self._conductor.set_label("")
            return None
        if stage != self._stage:
            self._stage = stage
            target = reachable_users(stage, t, users)
            if target != stage.users:
                _LOG.warning(
                    "%s: only %d of %d users can be there in time at %g a second",
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
        """Do what the present stage wants besides users. The first one begins before the run has."""
        stage = self._stage
        if stage is None or stage == self._applied:
            return
        self._applied = stage
        self._conductor.set_label(stage.label)
        self._conductor.set_rate(stage.rate_factor)
        if stage.cut_share:
            self._conductor.cut_connections(stage.cut_share, stage.cut_spread)

    def finish(self) -> None:
        """Write steps and limit to the conductor."""
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
            self._active = CapacityRun(plan, self._conductor, self._max_users)
        else:
            self._active = TimedRun(plan, self._conductor)
        return True


class ShapeChooser:
    """What Locust may choose from, in the master or the only process."""

    def __init__(
        self,
        environment: Environment,
        conductor: RunControl,
        read_plan: Callable[[], ShapePlan],
        max_users: float,
    ) -> None:
        self._environment = environment
        self._shape = SwarmShape(conductor, read_plan, max_users)
        environment.events.test_start.add_listener(self._on_test_start)  # type: ignore[no-untyped-call]
        if environment.web_ui is None or environment.web_ui.app is None:
            return
        if environment.web_ui.userclass_picker_is_active:
            environment.available_shape_classes = {
                kind: SwarmShape(conductor, read_plan, max_users, kind) for kind in SHAPES if kind != NO_SHAPE
            }
        else:
            environment.web_ui.app.before_request(self._before_request)

    def choose(self, kind: str) -> None:
        """Have the next run take a shape, or none: then Locust does what it does without shapes."""
        self._environment.shape_class = None if kind == NO_SHAPE else self._shape
        self._shape.runner = self._environment.runner

    def finish(self) -> None:
        """Write steps and limit to the conductor: when the run is over and its last second is in.

        Does nothing if the run had no shape.
        """
        if isinstance(self._environment.shape_class, SwarmShape):
            self._environment.shape_class.finish()

    def _on_test_start(self, **_: object) -> None:
        if isinstance(self._environment.shape_class, SwarmShape):
            self._environment.shape_class.apply_stage()

    def _before_request(self) -> None:
        """Look at the web form before Locust does, which only asks whether there is a shape."""
        runner = self._environment.runner
        if request.method != "POST" or request.endpoint != "locust.swarm" or runner is None:
            return
        kind = request.form.get("shape")
        if kind in SHAPES and runner.state in {STATE_INIT, STATE_STOPPED}:
            self.choose(kind)


def install(
    environment: Environment,
    conductor: RunControl,
    read_plan: Callable[[], ShapePlan],
    max_users: float = math.inf,
) -> ShapeChooser | None:
    """Put the shape of the options in place; to be called in Locust's `init` event. None in a worker.

    MUST come after the run's own `test_start` listener was added: the first stage's label and rate are given
    to the conductor right after it. `most` is how many users all processes together can hold. Ends the
    program with code 2 if the options make no sense.
    """
    if isinstance(environment.runner, WorkerRunner):
        return None
    plan = read_plan()
    if plan.kind != NO_SHAPE and (complaint := plan.invalid_reason()):
        _LOG.error("No shape: %s.", complaint)
        sys.exit(2)
    shapes = ShapeChooser(environment, conductor, read_plan, max_users)
    shapes.choose(plan.kind)
    return shapes
