"""Ctrl-C and SIGTERM: a run that is interrupted is brought to its quiet end and judged, as any other.

Knows signals and Locust's end. Must not know what a run is.

A terminal sends Ctrl-C to all processes of `--processes`, and so does a service manager with SIGTERM.
Locust's workers would leave at once, and the master would wait for what they have to say.

Python raises KeyboardInterrupt wherever it is at that moment: in a bot, between counting a message and
sending it, say, and the audit would miss that message. Here it is raised in Locust's main greenlet only,
which waits for it, between two turns of the loop.
"""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

import gevent
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_STOPPED, STATE_STOPPING, Runner, WorkerRunner

from chat_swarm.locust_plugin.users import SwarmUser

_ENDED_STATES: Final = frozenset({STATE_INIT, STATE_STOPPED, STATE_STOPPING})


def _interrupt() -> None:
    hub = gevent.get_hub()
    hub.loop.run_callback_threadsafe(hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt())


class InterruptHandler:
    """Ctrl-C ends the run; the next one cuts its drain short, but not what it has come to."""

    def __init__(self, runner: Runner, skip_drain: Callable[[], None]) -> None:
        self._runner = runner
        self._skip_drain = skip_drain
        self._ending = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Take a Ctrl-C; a signal handler."""
        if self._ending:
            self._ending = False  # whoever asks a third time does not want to hear of it either
            gevent.get_hub().loop.run_callback_threadsafe(self._skip_drain)
        else:
            _interrupt()

    def end_run(self, **_: object) -> None:
        """Bring the run to its end; Locust settles the exit code first, and only then asks for this."""
        self._ending = True
        if self._runner.state not in _ENDED_STATES:
            self._runner.stop()


class WorkerSignalHandler:
    """A bot process leaves its end to the master while a run is on, but for who asks twice."""

    def __init__(self) -> None:
        self._signalled = False

    def on_test_start(self, **_: object) -> None:
        """Take the signals over; at each run's beginning, after Locust has."""
        self._signalled = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        station = SwarmUser.worker
        if self._signalled or station is None or station.engine is None:
            _interrupt()
        self._signalled = True


def install(environment: Environment, runner: Runner, skip_drain: Callable[[], None]) -> None:
    """Be ready for interruptions, in Locust's `init` event. `hurry` cuts a drain short, if there is one."""
    interrupts = InterruptHandler(runner, skip_drain)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is somebody else's matter
        signal.signal(signal.SIGINT, interrupts.on_signal)
    if not isinstance(runner, WorkerRunner):
        environment.events.quitting.add_listener(interrupts.end_run)  # type: ignore[no-untyped-call]
    elif environment.parsed_options is not None and environment.parsed_options.processes:
        environment.events.test_start.add_listener(WorkerSignalHandler().on_test_start)  # type: ignore[no-untyped-call]
