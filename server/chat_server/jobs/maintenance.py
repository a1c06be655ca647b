"""Maintenance of the store about once a second: checkpoints, index, retention, free disk space."""

import time
from collections.abc import Callable
from contextlib import suppress

import gevent
from structlog.typing import FilteringBoundLogger

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.engine import Engine, Unreadable
from chat_server.jobs.commit_loop import CommitLoop
from chat_server.observability.logged_rooms import logged_room
from chat_server.vocabulary import LogEvent

MAINTENANCE_INTERVAL_S = 1.0
"""Seconds between checkpoints: what a power loss can cost with `--sync normal`."""

DISK_CHECK_INTERVAL_S = 30.0
"""Seconds between checks of the free disk space."""

TRIM_INTERVAL_S = 10.0
"""Seconds between retention rounds, after one that has found nothing more to delete."""

TRIM_STEPS_PER_ROUND = 50
"""Steps of a retention round: with their pauses about a second, then a checkpoint is due."""

TRIM_PAUSE_S = 0.01
"""Seconds between two steps, in which commits and readers can run."""


class StoreMaintenance:
    """The greenlet that maintains the store."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        store: Engine,
        commit_loop: CommitLoop,
        *,
        disk_warning_bytes: int,
        retention_messages: int = 0,
        retention_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
        on_trimmed: Callable[[dict[int, int]], None] = lambda _trimmed: None,
    ) -> None:
        """Maintain `store`.

        `retention_messages` (per room) and `retention_seconds` are limits, 0 for none; `clock` returns
        seconds since 1970. `on_trimmed` is called with the deletions: last deleted seq by room id.
        """
        self._log = log
        self._store = store
        self._commit_loop = commit_loop
        self._disk_warning_bytes = disk_warning_bytes
        self._disk_low = False
        self._last_index_error = ""  # empty if the last maintenance succeeded
        self._retention_messages = retention_messages
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._on_trimmed = on_trimmed
        self._last_trim_error = ""  # empty if the last retention round succeeded
        self._trim_due_at = 0.0  # by the loop's clock
        self._wal_is_large = False  # another program keeps it from being emptied

    def run(self) -> None:
        """Maintain the store until killed."""
        disk_checked_at = 0.0
        while True:
            self._maintain()
            self._trim()
            self._log_notices()
            now = gevent.get_hub().loop.now()
            if now - disk_checked_at >= DISK_CHECK_INTERVAL_S or not disk_checked_at:
                disk_checked_at = now
                with suppress(OSError):  # the folder has gone: the commits report it
                    self.check_disk()
            gevent.sleep(MAINTENANCE_INTERVAL_S)

    def check_disk(self) -> None:
        """Log a warning when free space falls below the limit; once, until it has been above it again."""
        sizes = self._store.disk_sizes()
        if not sizes:
            return
        low = sizes["free_bytes"] < self._disk_warning_bytes
        if low and not self._disk_low:
            self._log.warning(
                LogEvent.DISK_LOW,
                path=self._store.folder,
                free_bytes=sizes["free_bytes"],
                store_bytes=sizes["store_bytes"],
            )
        self._disk_low = low

    def _maintain(self) -> None:
        try:
            size = self._store.maintain()
            if size > self._store.pause_above_bytes:
                self._truncate_wal(size)
            self._last_index_error = ""
        except StoreUnavailable as error:
            if str(error) != self._last_index_error:  # once, not once a second
                self._log.warning(LogEvent.INDEX_FAILED, error=str(error))
            self._last_index_error = str(error)
        except Exception as error:  # noqa: BLE001  a bug of ours must not stop maintenance
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _trim(self) -> None:
        """Delete what is over the retention limits, and messages of ended rooms, if a round is due."""
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
        except Exception as error:  # noqa: BLE001  a bug of ours must not stop maintenance
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
        if rooms:
            self._log.info(LogEvent.TRIMMED, count=len(rooms))
        if not more:
            self._trim_due_at = gevent.get_hub().loop.now() + TRIM_INTERVAL_S

    def _trim_steps(self, rooms: set[int]) -> bool:
        """Delete until nothing is left or the round is over; fill `rooms`; return whether to go on."""
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
        """Pause commits, and let a checkpoint empty the write-ahead log, which else would only grow.

        It cannot be emptied while another program reads the data file: that is logged once.
        """
        started = gevent.get_hub().loop.now()
        self._commit_loop.pause()
        left = size
        try:
            left = self._store.maintain(truncate=True)
        finally:
            self._commit_loop.resume()
            gevent.get_hub().loop.update_now()
            duration = round(gevent.get_hub().loop.now() - started, 3)
            if left <= self._store.pause_above_bytes:
                self._log.info(LogEvent.WAL_LARGE, wal_bytes=size, duration_s=duration, reason="emptied")
            elif not self._wal_is_large:
                self._log.warning(LogEvent.WAL_LARGE, wal_bytes=left, duration_s=duration, reason="blocked")
            self._wal_is_large = left > self._store.pause_above_bytes

    def _log_notices(self) -> None:
        """Log what the store has found out about its files."""
        for one in self._store.take_notices():
            if isinstance(one, Unreadable):
                place = (
                    {"room": logged_room(one.room), "seq": one.first, "last_seq": one.last}
                    if one.room
                    else {}
                )
                self._log.error(LogEvent.ROW_UNREADABLE, error=one.error, **place)
            else:
                level = "warning" if one.reason == "damaged" else "info"
                line = {"reason": one.reason, "count": one.rows, "duration_s": one.duration_s}
                getattr(self._log, level)(LogEvent.INDEX_REBUILT, **line)
