"""The greenlet that commits what is queued as soon as there is something."""

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.ingest import Ingest
from chat_server.vocabulary import LogEvent

TRY_EVERY = 1.0
"""Seconds after which a store that failed is tried again when nobody says anything."""

TELL_EVERY = 1.0
"""Seconds between two lines about refused messages, however many there are."""


class Writer:
    """The one greenlet that commits. It parks in the hub, which is cheaper than an Event at each commit."""

    def __init__(self, log: FilteringBoundLogger, store_name: str) -> None:
        self._log = log
        self._store_name = store_name
        self._hub: Any = gevent.get_hub()
        self._wanted = False
        self._resume: Callable[[], object] | None = None  # of a parked greenlet
        self._failing_since: float | None = None
        self._refused = 0  # messages whose refusal was told
        self._told_at = 0.0
        self._retry: gevent.Greenlet | None = None  # wakes us to try a store that failed
        self._open = Event()
        self._open.set()
        self._done = Event()
        self._done.set()
        self.ingest: Ingest

    def wake(self) -> None:
        """Commit soon: after all readers that are ready now have had their turn."""
        self._wanted = True
        if self._resume is not None:
            self._hub.loop.run_callback(self._resume)
            self._resume = None

    def pause(self) -> None:
        """Commit nothing until `resume`; return when the commit under way is done. May wait."""
        self._open.clear()
        self._done.wait()

    def resume(self) -> None:
        """Go on committing."""
        self._open.set()

    def run(self) -> None:
        """Commit until killed."""
        commit = self.ingest.commit
        switch = gevent.getcurrent().switch
        while True:
            while not self._wanted:
                self._resume = switch
                self._hub.switch()
            self._wanted = False
            if not self._open.is_set():
                self._open.wait()
            self._done.clear()
            try:
                again = commit()
                self._tell()
                while again is not None:
                    gevent.sleep(again)
                    again = commit()
                    self._tell()
            except Exception as error:  # noqa: BLE001  ours; the next batch is tried all the same
                self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
            self._done.set()
            if self.ingest.last_error is not None and (self._retry is None or self._retry.ready()):
                self._retry = gevent.spawn_later(TRY_EVERY, self.wake)

    def _tell(self) -> None:
        """Say in the log when the store begins to fail, what was refused meanwhile, and when it is back."""
        ingest = self.ingest
        if ingest.last_error is None and self._failing_since is None:
            return
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._refused = ingest.refused
            self._log.error(
                LogEvent.STORE_FAILED,
                store=self._store_name,
                error=ingest.last_error,
                queue_bytes=ingest.size,
            )
        refused = ingest.refused - self._refused
        back = ingest.last_error is None
        if refused and (back or now - self._told_at > TELL_EVERY):
            self._told_at = now
            self._refused = ingest.refused
            duration = round(now - self._failing_since, 3)
            self._log.error(
                LogEvent.BATCH_REFUSED, error=ingest.last_error, count=refused, duration_s=duration
            )
        if back:
            duration = round(now - self._failing_since, 3)
            self._failing_since = None
            self._log.warning(LogEvent.STORE_RECOVERED, store=self._store_name, duration_s=duration)
