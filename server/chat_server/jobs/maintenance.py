"""Maintains the store about once a second, in a greenlet: checkpoints, index, retention, free disk space."""

import time
from collections.abc import Callable

import gevent
from structlog.typing import FilteringBoundLogger

from chat_server.core.ports.store import StoreUnavailable
from chat_server.engines.memory import MemoryStore
from chat_server.engines.sqlite.log import WAL_PAUSE_BYTES, SqliteStore
from chat_server.jobs.commit_loop import CommitLoop
from chat_server.observability.log_reporter import LogReporter
from chat_server.vocabulary import LogEvent

MAINTENANCE_INTERVAL_S = 1.0
"""Seconds between checkpoints: what a loss of power can cost with `--sync normal`."""

DISK_CHECK_INTERVAL_S = 30.0
"""Seconds between looks at the free space."""

TRIM_INTERVAL_S = 10.0
"""Seconds between looks for messages that are kept too long, when the last one found no more."""

TRIM_STEPS_PER_ROUND = 50
"""Steps of one round of trimming: with their pauses about a second of it, then a checkpoint is due."""

TRIM_PAUSE_S = 0.01
"""Seconds between two steps, in which commits and readers have their turn."""


class StoreMaintenance:
    """The greenlet that maintains the store."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        store: SqliteStore | MemoryStore,
        commit_loop: CommitLoop,
        reporter: LogReporter,
        *,
        disk_warning_bytes: int,
        retention_messages: int = 0,
        retention_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
        on_trimmed: Callable[[dict[int, int]], None] = lambda _trimmed: None,
    ) -> None:
        """Keep `store` in shape.

        `retention_messages` (a room) and `retention_seconds` are limits, 0 for none; `clock` says how late it
        is (seconds since the epoch). `on_trimmed` is told what was deleted: by room id the last seq.
        """
        self._log = log
        self._store = store
        self._commit_loop = commit_loop
        self._reporter = reporter
        self._disk_warning_bytes = disk_warning_bytes
        self._disk_low = False
        self._last_index_error = ""  # of the last maintenance
        self._retention_messages = retention_messages
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._on_trimmed = on_trimmed
        self._last_trim_error = ""  # of the last round of trimming
        self._trim_due_at = 0.0  # by the loop's clock

    def run(self) -> None:
        """Maintain until killed."""
        disk_checked_at = 0.0
        while True:
            self._maintain()
            self._trim()
            now = gevent.get_hub().loop.now()
            if now - disk_checked_at >= DISK_CHECK_INTERVAL_S or not disk_checked_at:
                disk_checked_at = now
                self.check_disk()
            gevent.sleep(MAINTENANCE_INTERVAL_S)

    def check_disk(self) -> None:
        """Warn once when the disk is nearly full, and again only after it was not."""
        if not isinstance(self._store, SqliteStore):
            return
        sizes = self._reporter.disk_sizes()
        low = sizes["free_bytes"] < self._disk_warning_bytes
        if low and not self._disk_low:
            self._log.warning(
                LogEvent.DISK_LOW,
                path=str(self._store.path.parent),
                free_bytes=sizes["free_bytes"],
                store_bytes=sizes["store_bytes"],
            )
        self._disk_low = low

    def _maintain(self) -> None:
        if not isinstance(self._store, SqliteStore):
            return
        try:
            size = self._store.maintain()
            if size > WAL_PAUSE_BYTES:
                self._truncate_wal(size)
            self._last_index_error = ""
        except StoreUnavailable as error:
            if str(error) != self._last_index_error:  # once, not once a second
                self._log.warning(LogEvent.INDEX_FAILED, error=str(error))
            self._last_index_error = str(error)
        except Exception as error:  # noqa: BLE001  ours; the keeper goes on
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _trim(self) -> None:
        """Let go of messages that are kept too long: one round, if one is due."""
        if not (self._retention_messages or self._retention_seconds):
            return
        if gevent.get_hub().loop.now() < self._trim_due_at:
            return
        rooms: set[int] = set()
        more = False
        try:
            more = self._trim_steps(rooms)
            self._last_trim_error = ""
        except StoreUnavailable as error:
            if str(error) != self._last_trim_error:  # once, as above
                self._log.warning(LogEvent.INDEX_FAILED, error=str(error))
            self._last_trim_error = str(error)
        except Exception as error:  # noqa: BLE001  ours; the keeper goes on
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
        if rooms:
            self._log.info(LogEvent.TRIMMED, count=len(rooms))
        if not more:
            self._trim_due_at = gevent.get_hub().loop.now() + TRIM_INTERVAL_S

    def _trim_steps(self, rooms: set[int]) -> bool:
        """Trim until nothing is left or the round is full; collect rooms, tell whether there may be more."""
        for _ in range(TRIM_STEPS_PER_ROUND):
            before = self._clock() - self._retention_seconds if self._retention_seconds else 0.0
            trimmed = self._store.trim(keep=self._retention_messages, before=max(before, 0.0))
            if not trimmed:
                return False
            rooms.update(trimmed)
            self._on_trimmed(trimmed)
            gevent.sleep(TRIM_PAUSE_S)
        return True

    def _truncate_wal(self, size: int) -> None:
        """Hold the writer up until the write-ahead log is in the file: it would only grow."""
        assert isinstance(self._store, SqliteStore)
        started = gevent.get_hub().loop.now()
        self._commit_loop.pause()
        try:
            self._store.maintain(truncate=True)
        finally:
            self._commit_loop.resume()
            gevent.get_hub().loop.update_now()
            duration = round(gevent.get_hub().loop.now() - started, 3)
            self._log.info(LogEvent.WAL_LARGE, wal_bytes=size, duration_s=duration)
