"""The shapes whose stages follow from the time, as they go by.

Knows the clock of the run, and the conductor. Must not know Locust. Pure.
"""

import math

from chat_swarm.model.stages import STAGE_SLACK_S, ShapePlan, Stage, planned_stage
from chat_swarm.shapes.run_control import RunControl, StepWriter


class TimedRun:
    """Says what is wanted, and books each stage that has passed as a step."""

    def __init__(self, plan: ShapePlan, run_control: RunControl) -> None:
        self._plan = plan
        self._run_control = run_control
        self._step_writer = StepWriter(run_control)
        self._up_at: float | None = None
        self._stage: Stage | None = None
        self._since = 0.0
        """When the stage began, or had all its users."""
        self._is_up = False
        self._t, self._users = 0.0, 0
        """When it was asked last, and the users there were."""

    def stage_at(self, t: float, users: int) -> Stage | None:
        """Return what is wanted now, with so many users running; None when the shape is over."""
        if self._up_at is None and users >= self._plan.users:
            self._up_at = t
        wanted = planned_stage(self._plan, t, self._up_at)
        if wanted != self._stage:
            self._end_stage(t)
            self._stage, self._since, self._is_up = wanted, t, False
        if wanted is not None and not self._is_up and users == wanted.users:
            self._is_up, self._since = True, t
        self._t, self._users = t, users
        self._step_writer.write_reported()
        return wanted

    def finish(self) -> None:
        """Book the last stage and write down what is known by now. A second time it changes nothing."""
        self._end_stage(self._t)
        self._stage = None
        self._step_writer.write_reported()

    def _end_stage(self, t: float) -> None:
        """Book the stage that ends now, without its rise and without seconds that belong to two stages."""
        if self._stage is None or not self._stage.is_step:
            return
        end = t if self._stage.ends_at is None else min(t, self._stage.ends_at)
        storm = self._stage.cut_share > 0
        # A storm's cuts come at once: the second that they fall into is the storm's, not one of two.
        first = math.floor(self._since) if storm else math.ceil(self._since - STAGE_SLACK_S)
        self._step_writer.end_step(
            self._stage.label, first, math.floor(end), self._users, self._stage.rate_factor, storm=storm
        )
