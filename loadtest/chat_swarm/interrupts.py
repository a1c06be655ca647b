"""Ctrl-C and SIGTERM: a run that is interrupted is brought to its quiet end and judged, as any other.

Knows signals and Locust's end. Must not know what a run is.

A terminal sends Ctrl-C to all processes of `--processes`, and so does a service manager with SIGTERM.
Locust's workers would leave at once, and the master would wait for what they have to say.
"""

import signal
from types import FrameType
from typing import Final

from locust.env import Environment
from locust.runners import STATE_INIT, STATE_STOPPED, STATE_STOPPING, Runner, WorkerRunner

from chat_swarm.users import SwarmUser

_OVER: Final = frozenset({STATE_INIT, STATE_STOPPED, STATE_STOPPING})


class Patience:
    """A bot process leaves its end to the master while a run is on, but for who asks twice."""

    def __init__(self) -> None:
        self._asked = False

    def begin(self, **_: object) -> None:
        """Take the signals over; at each run's beginning, after Locust has."""
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked_to_end)

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        station = SwarmUser.station
        if self._asked or station is None or station.engine is None:
            raise KeyboardInterrupt
        self._asked = True


def on_init(environment: Environment, runner: Runner, **_: object) -> None:
    """Be ready for an interruption; for Locust's `init` event."""

    def end_run(**_: object) -> None:
        # Locust settles the exit code first, and only then ends the run that the code is about.
        if runner.state not in _OVER:
            runner.stop()

    if not isinstance(runner, WorkerRunner):
        environment.events.quitting.add_listener(end_run)  # type: ignore[no-untyped-call]
    elif environment.parsed_options is not None and environment.parsed_options.processes:
        environment.events.test_start.add_listener(Patience().begin)  # type: ignore[no-untyped-call]
