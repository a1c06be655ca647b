"""Ctrl-C and SIGTERM: an interrupted run is drained and judged like any other.

A terminal sends SIGINT to all processes of `--processes`, and a service manager SIGTERM. By default Locust's
workers would quit at once, and the master would wait for their reports.

By default Python raises `KeyboardInterrupt` at any instruction, for example in a bot between counting a
message and sending it, and the audit would report that message as lost. Here it is raised only in Locust's
main greenlet, between two turns of the loop.
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
    gevent_hub = gevent.get_hub()
    gevent_hub.loop.run_callback_threadsafe(
        gevent_hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt()
    )


class InterruptHandler:
    """Handles SIGINT in the master or the only process: ends the run; the second skips the drain."""

    def __init__(self, runner: Runner, skip_drain: Callable[[], None]) -> None:
        self._runner = runner
        self._skip_drain = skip_drain
        self._ending = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT. Runs as a signal handler: MUST NOT block."""
        if self._ending:
            self._ending = False  # a third signal interrupts Locust itself
            gevent.get_hub().loop.run_callback_threadsafe(self._skip_drain)
        else:
            _interrupt()

    def end_run(self, **_: object) -> None:
        """Stop the run, on Locust's `quitting` event: Locust reads the exit code right after it."""
        self._ending = True
        if self._runner.state not in _ENDED_STATES:
            self._runner.stop()


class WorkerSignalHandler:
    """Handles signals in a worker: during a run the master ends it, so only the second signal interrupts."""

    def __init__(self) -> None:
        self._signalled = False

    def on_test_start(self, **_: object) -> None:
        """Install the handlers, at the start of each run: Locust installs its own before that."""
        self._signalled = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        worker = SwarmUser.worker
        if self._signalled or worker is None or worker.bot_process is None:
            _interrupt()
        self._signalled = True


def install(environment: Environment, runner: Runner, skip_drain: Callable[[], None]) -> None:
    """Install the handlers, in Locust's `init` event. `skip_drain` ends a drain, if there is one."""
    handler = InterruptHandler(runner, skip_drain)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is handled elsewhere
        signal.signal(signal.SIGINT, handler.on_signal)
    if not isinstance(runner, WorkerRunner):
        environment.events.quitting.add_listener(handler.end_run)  # type: ignore[no-untyped-call]
    elif environment.parsed_options is not None and environment.parsed_options.processes:
        environment.events.test_start.add_listener(WorkerSignalHandler().on_test_start)  # type: ignore[no-untyped-call]
