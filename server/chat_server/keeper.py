"""Keeps the log in shape beside the traffic: commits, checkpoints, index, retention, disk.

Two greenlets: the writer commits what is queued as soon as there is something; the keeper maintains the store
about once a second. Knows when; the ingest and the store know how.
"""

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from structlog.typing import FilteringBoundLogger

from chat_server.core.ingest import Ingest
from chat_server.core.ports import StoreUnavailable
from chat_server.reporter import Reporter
from chat_server.store.memory import MemoryStore
from chat_server.store.sqlite import WAL_PAUSE_BYTES, SqliteStore
from chat_server.vocabulary import LogEvent

MAINTAIN_EVERY = 1.0
"""Seconds between checkpoints: what a loss of power can cost with `--sync normal`."""

TRY_EVERY = 1.0
"""Seconds after which a store that failed is tried again when nobody says anything."""

TELL_EVERY = 1.0
"""Seconds between two lines about refused messages, however many there are."""

DISK_EVERY = 30.0
"""Seconds between looks at the free space."""

TRIM_EVERY = 10.0
"""Seconds between looks for messages that are kept too long, when the last one found no more."""

TRIM_STEPS = 50
"""Steps of one round of trimming: with their pauses about a second of it, then a checkpoint is due."""

TRIM_PAUSE = 0.01
"""Seconds between two steps, in which commits and readers have their turn."""


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


class Keeper:
    """The greenlet that maintains the store."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        store: SqliteStore | MemoryStore,
        writer: Writer,
        reporter: Reporter,
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
        self._writer = writer
        self._reporter = reporter
        self._disk_warning_bytes = disk_warning_bytes
        self._disk_low = False
        self._index_error = ""  # of the last maintenance
        self._retention_messages = retention_messages
        self._retention_seconds = retention_seconds
        self._clock = clock
        self._on_trimmed = on_trimmed
        self._trim_error = ""  # of the last round of trimming
        self._trim_due = 0.0  # by the loop's clock

    def run(self) -> None:
        """Maintain until killed."""
        looked = 0.0
        while True:
            self._maintain()
            self._trim()
            now = gevent.get_hub().loop.now()
            if now - looked >= DISK_EVERY or not looked:
                looked = now
                self.check_disk()
            gevent.sleep(MAINTAIN_EVERY)

    def check_disk(self) -> None:
        """Warn once when the disk is nearly full, and again only after it was not."""
        if not isinstance(self._store, SqliteStore):
            return
        sizes = self._reporter.disk()
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
                self._empty_wal(size)
            self._index_error = ""
        except StoreUnavailable as error:
            if str(error) != self._index_error:  # once, not once a second
                self._log.warning(LogEvent.INDEX_FAILED, error=str(error))
            self._index_error = str(error)
        except Exception as error:  # noqa: BLE001  ours; the keeper goes on
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _trim(self) -> None:
        """Let go of messages that are kept too long: one round, if one is due."""
        if not (self._retention_messages or self._retention_seconds):
            return
        if gevent.get_hub().loop.now() < self._trim_due:
            return
        rooms: set[int] = set()
        more = False
        try:
            more = self._trim_steps(rooms)
            self._trim_error = ""
        except StoreUnavailable as error:
            if str(error) != self._trim_error:  # once, as above
                self._log.warning(LogEvent.INDEX_FAILED, error=str(error))
            self._trim_error = str(error)
        except Exception as error:  # noqa: BLE001  ours; the keeper goes on
            self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
        if rooms:
            self._log.info(LogEvent.TRIMMED, count=len(rooms))
        if not more:
            self._trim_due = gevent.get_hub().loop.now() + TRIM_EVERY

    def _trim_steps(self, rooms: set[int]) -> bool:
        """Trim until nothing is left or the round is full; collect rooms, tell whether there may be more."""
        for _ in range(TRIM_STEPS):
            before = self._clock() - self._retention_seconds if self._retention_seconds else 0.0
            trimmed = self._store.trim(keep=self._retention_messages, before=max(before, 0.0))
            if not trimmed:
                return False
            rooms.update(trimmed)
            self._on_trimmed(trimmed)
            gevent.sleep(TRIM_PAUSE)
        return True

    def _empty_wal(self, size: int) -> None:
        """Hold the writer up until the write-ahead log is in the file: it would only grow."""
        assert isinstance(self._store, SqliteStore)
        started = gevent.get_hub().loop.now()
        self._writer.pause()
        try:
            self._store.maintain(truncate=True)
        finally:
            self._writer.resume()
            gevent.get_hub().loop.update_now()
            duration = round(gevent.get_hub().loop.now() - started, 3)
            self._log.info(LogEvent.WAL_LARGE, wal_bytes=size, duration_s=duration)
