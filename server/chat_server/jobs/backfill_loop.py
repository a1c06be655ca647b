"""Runs the backfill (core/delivery/backfill.py): one greenlet serves all lagging sessions in turn."""

import time

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.backfill import Backfill
from chat_server.net.event_loop import NEXT_ROUND_S
from chat_server.net.turns import TIME_SLICE_S
from chat_server.vocabulary import LogEvent


class BackfillWakeup:
    """Wakes the backfill's loop."""

    def __init__(self) -> None:
        self._requested = Event()

    def wake(self) -> None:
        """Request that the loop serves the sessions that are ready."""
        self._requested.set()

    def wait(self) -> None:
        """Wait for a request, in the loop's greenlet. May wait."""
        self._requested.wait()
        self._requested.clear()


class BackfillLoop:
    """The greenlet that sends lagging sessions their messages from the log."""

    def __init__(self, log: FilteringBoundLogger, backfill: Backfill, wakeup: BackfillWakeup) -> None:
        self._log = log
        self._backfill = backfill
        self._wakeup = wakeup

    def run(self) -> None:
        """Run until killed, in time slices, so that other greenlets run in between."""
        backfill = self._backfill
        while True:
            self._wakeup.wait()
            slice_ends = time.monotonic() + TIME_SLICE_S
            while not backfill.idle:
                try:
                    backfill.step()
                except Exception as error:  # noqa: BLE001  a bug of ours must not stop other sessions
                    self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
                if time.monotonic() > slice_ends:
                    gevent.sleep(NEXT_ROUND_S)
                    slice_ends = time.monotonic() + TIME_SLICE_S
