"""The shapes whose stages follow from the time, as they go by.

Knows the clock of the run, and the conductor. Must not know Locust. Pure.
"""

import math

from chat_swarm.model.stages import SLACK, ShapePlan, Stage, stage
from chat_swarm.shapes.run_control import Conductor, StepBook


class StageRun:
    """Says what is wanted, and books each stage that has passed as a step."""

    def __init__(self, plan: ShapePlan, conductor: Conductor) -> None:
        self._plan = plan
        self._conductor = conductor
        self._book = StepBook(conductor)
        self._up_at: float | None = None
        self._stage: Stage | None = None
        self._since = 0.0
        """When the stage began, or had all its users."""
        self._is_up = False
        self._t, self._users = 0.0, 0
        """When it was asked last, and the users there were."""

    def at(self, t: float, users: int) -> Stage | None:
        """Return what is wanted now, with so many users running; None when the shape is over."""
        if self._up_at is None and users >= self._plan.users:
            self._up_at = t
        wanted = stage(self._plan, t, self._up_at)
        if wanted != self._stage:
            self._close(t)
            self._stage, self._since, self._is_up = wanted, t, False
        if wanted is not None and not self._is_up and users == wanted.users:
            self._is_up, self._since = True, t
        self._t, self._users = t, users
        self._book.settle()
        return wanted

    def finish(self) -> None:
        """Book the last stage and write down what is known by now. A second time it changes nothing."""
        self._close(self._t)
        self._stage = None
        self._book.settle()

    def _close(self, t: float) -> None:
        """Book the stage that ends now, without its rise and without seconds that belong to two stages."""
        if self._stage is None or not self._stage.counts:
            return
        end = t if self._stage.ends is None else min(t, self._stage.ends)
        storm = self._stage.cut_share > 0
        # A storm's cuts come at once: the second that they fall into is the storm's, not one of two.
        first = math.floor(self._since) if storm else math.ceil(self._since - SLACK)
        self._book.close(
            self._stage.label, first, math.floor(end), self._users, self._stage.rate_factor, storm=storm
        )
