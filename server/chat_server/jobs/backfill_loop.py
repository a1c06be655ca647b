"""Runs the feeder: one greenlet that gives those who are behind their chunks, one after the other.

Knows when; core/delivery/backfill.py knows how. Must not know sessions.
"""

import time

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.backfill import Feeder
from chat_server.net.connection import SLICE_PAUSE_S, TIME_SLICE_S
from chat_server.vocabulary import LogEvent


class BackfillLoop:
    """The greenlet that feeds."""

    def __init__(self, log: FilteringBoundLogger, feeder: Feeder) -> None:
        self._log = log
        self._feeder = feeder
        self._requested = Event()
        feeder.wake = self._requested.set

    def run(self) -> None:
        """Feed until killed; everybody else has a turn in between."""
        feeder = self._feeder
        while True:
            self._requested.wait()
            self._requested.clear()
            slice_ends = time.monotonic() + TIME_SLICE_S
            while not feeder.idle:
                try:
                    feeder.step()
                except Exception as error:  # noqa: BLE001  ours; the others are fed all the same
                    self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
                if time.monotonic() > slice_ends:
                    gevent.sleep(SLICE_PAUSE_S)
                    slice_ends = time.monotonic() + TIME_SLICE_S
