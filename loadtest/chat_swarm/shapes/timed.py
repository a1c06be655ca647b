"""A load shape that depends on time alone: finds the current stage, writes past ones as steps. Pure."""

import math

from chat_swarm.model.stages import STAGE_SLACK_S, ShapePlan, Stage, planned_stage
from chat_swarm.shapes.run_control import RunControl, StepWriter


class TimedRun:
    """Returns the current stage, and records each past stage as a step."""

    def __init__(self, plan: ShapePlan, run_control: RunControl) -> None:
        self._plan = plan
        self._run_control = run_control
        self._step_writer = StepWriter(run_control)
        self._up_at: float | None = None
        self._stage: Stage | None = None
        self._since = 0.0
        """Start of the stage, or the time at which all its users ran."""
        self._is_up = False
        self._t, self._users = 0.0, 0
        """Time and users of the last call."""

    def stage_at(self, t: float, users: int) -> Stage | None:
        """Return the stage at `t`, with `users` running; None when the shape is over."""
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
        """Record the last stage and write what is reported by now. A second call changes nothing."""
        self._end_stage(self._t)
        self._stage = None
        self._step_writer.write_reported()

    def _end_stage(self, t: float) -> None:
        """Record the stage that ends now, without its ramp-up and seconds shared with another stage."""
        if self._stage is None or not self._stage.is_step:
            return
        end = t if self._stage.ends_at is None else min(t, self._stage.ends_at)
        storm = self._stage.cut_share > 0
        # A storm cuts at its start, so the second of the cuts belongs to the storm.
        first = math.floor(self._since) if storm else math.ceil(self._since - STAGE_SLACK_S)
        self._step_writer.end_step(
            self._stage.label, first, math.floor(end), self._users, self._stage.rate_factor, storm=storm
        )
