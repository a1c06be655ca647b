"""The greenlet that commits what is queued as soon as there is something."""

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.ingest import Ingest
from chat_server.vocabulary import LogEvent

STORE_RETRY_INTERVAL_S = 1.0
"""Seconds after which a store that failed is tried again when nobody says anything."""

REFUSED_LOG_INTERVAL_S = 1.0
"""Seconds between two lines about refused messages, however many there are."""


class CommitLoop:
    """The one greenlet that commits. It parks in the hub, which is cheaper than an Event at each commit."""

    def __init__(self, log: FilteringBoundLogger, store_name: str) -> None:
        self._log = log
        self._store_name = store_name
        self._gevent_hub: Any = gevent.get_hub()
        self._requested = False
        self._parked_switch: Callable[[], object] | None = None  # of a parked greenlet
        self._failing_since: float | None = None
        self._refused_logged = 0  # messages whose refusal was told
        self._refused_logged_at = 0.0
        self._retry: gevent.Greenlet | None = None  # wakes us to try a store that failed
        self._not_paused = Event()
        self._not_paused.set()
        self._idle = Event()
        self._idle.set()
        self.ingest: Ingest

    def wake(self) -> None:
        """Commit soon: after all readers that are ready now have had their turn."""
        self._requested = True
        if self._parked_switch is not None:
            self._gevent_hub.loop.run_callback(self._parked_switch)
            self._parked_switch = None

    def pause(self) -> None:
        """Commit nothing until `resume`; return when the commit under way is done. May wait."""
        self._not_paused.clear()
        self._idle.wait()

    def resume(self) -> None:
        """Go on committing."""
        self._not_paused.set()

    def run(self) -> None:
        """Commit until killed."""
        commit = self.ingest.commit
        switch = gevent.getcurrent().switch
        while True:
            while not self._requested:
                self._parked_switch = switch
                self._gevent_hub.switch()
            self._requested = False
            if not self._not_paused.is_set():
                self._not_paused.wait()
            self._idle.clear()
            try:
                retry_delay_s = commit()
                self._log_store_state()
                while retry_delay_s is not None:
                    gevent.sleep(retry_delay_s)
                    retry_delay_s = commit()
                    self._log_store_state()
            except Exception as error:  # noqa: BLE001  ours; the next batch is tried all the same
                self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
            self._idle.set()
            if self.ingest.last_error is not None and (self._retry is None or self._retry.ready()):
                self._retry = gevent.spawn_later(STORE_RETRY_INTERVAL_S, self.wake)

    def _log_store_state(self) -> None:
        """Say in the log when the store begins to fail, what was refused meanwhile, and when it is back."""
        ingest = self.ingest
        if ingest.last_error is None and self._failing_since is None:
            return
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._refused_logged = ingest.refused
            self._log.error(
                LogEvent.STORE_FAILED,
                store=self._store_name,
                error=ingest.last_error,
                queue_bytes=ingest.size,
            )
        refused = ingest.refused - self._refused_logged
        recovered = ingest.last_error is None
        if refused and (recovered or now - self._refused_logged_at > REFUSED_LOG_INTERVAL_S):
            self._refused_logged_at = now
            self._refused_logged = ingest.refused
            duration = round(now - self._failing_since, 3)
            self._log.error(
                LogEvent.BATCH_REFUSED, error=ingest.last_error, count=refused, duration_s=duration
            )
        if recovered:
            duration = round(now - self._failing_since, 3)
            self._failing_since = None
            self._log.warning(LogEvent.STORE_RECOVERED, store=self._store_name, duration_s=duration)
