"""The greenlet that commits queued messages as soon as there are any."""

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.delivery.committer import Committer
from chat_server.core.delivery.ingest import Ingest
from chat_server.vocabulary import LogEvent

STORE_RETRY_INTERVAL_S = 1.0
"""Seconds after which a failed store is retried while no messages arrive."""

REFUSED_LOG_INTERVAL_S = 1.0
"""Minimum of seconds between two log lines about refused messages."""


class CommitWakeup:
    """Wakes the commit loop, which waits in gevent's hub: cheaper than an Event per commit."""

    def __init__(self) -> None:
        self._gevent_hub: Any = gevent.get_hub()
        self._requested = False
        self._parked_switch: Callable[[], object] | None = None  # set while the loop waits

    def wake(self) -> None:
        """Request a commit: it runs after all readers that are ready now."""
        self._requested = True
        if self._parked_switch is not None:
            self._gevent_hub.loop.run_callback(self._parked_switch)
            self._parked_switch = None

    def wait(self) -> None:
        """Wait until a commit is requested, in the loop's greenlet. May wait."""
        switch = gevent.getcurrent().switch
        while not self._requested:
            self._parked_switch = switch
            self._gevent_hub.switch()
        self._requested = False


class CommitLoop:
    """The only greenlet that commits."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        store_name: str,
        ingest: Ingest,
        committer: Committer,
        wakeup: CommitWakeup,
    ) -> None:
        self._log = log
        self._store_name = store_name
        self._ingest = ingest
        self._committer = committer
        self._wakeup = wakeup
        self._failing_since: float | None = None
        self._refused_logged = 0  # refused messages that have been logged
        self._refused_logged_at = 0.0
        self._retry: gevent.Greenlet | None = None  # retries a failed store
        self._not_paused = Event()
        self._not_paused.set()
        self._idle = Event()
        self._idle.set()

    def pause(self) -> None:
        """Suspend commits until `resume`; return when the current one is done. May wait."""
        self._not_paused.clear()
        self._idle.wait()

    def resume(self) -> None:
        """Allow commits again."""
        self._not_paused.set()

    def run(self) -> None:
        """Commit on request until killed."""
        commit = self._committer.commit
        wait = self._wakeup.wait
        while True:
            wait()
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
            except Exception as error:  # noqa: BLE001  a bug of ours must not stop later commits
                self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
            self._idle.set()
            if self._committer.last_error is not None and (self._retry is None or self._retry.ready()):
                self._retry = gevent.spawn_later(STORE_RETRY_INTERVAL_S, self._wakeup.wake)

    def _log_store_state(self) -> None:
        """Log when the store starts to fail, how many messages were refused, and when it works again."""
        committer = self._committer
        if committer.last_error is None and self._failing_since is None:
            return
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._refused_logged = committer.refused_messages
            self._log.error(
                LogEvent.STORE_FAILED,
                store=self._store_name,
                error=committer.last_error,
                queue_bytes=self._ingest.queued_bytes,
            )
        refused = committer.refused_messages - self._refused_logged
        recovered = committer.last_error is None
        if refused and (recovered or now - self._refused_logged_at > REFUSED_LOG_INTERVAL_S):
            self._refused_logged_at = now
            self._refused_logged = committer.refused_messages
            duration = round(now - self._failing_since, 3)
            self._log.error(
                LogEvent.BATCH_REFUSED, error=committer.last_error, count=refused, duration_s=duration
            )
        if recovered:
            duration = round(now - self._failing_since, 3)
            self._failing_since = None
            self._log.warning(LogEvent.STORE_RECOVERED, store=self._store_name, duration_s=duration)
