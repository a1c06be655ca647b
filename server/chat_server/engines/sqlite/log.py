"""The log in SQLite: appended to by the hub, indexed and read by one native thread.

Knows SQL and files. Must not know rooms' members or sessions' sockets. The hub's connection only appends: a
commit takes microseconds, since it writes to the page cache (`--sync normal`) and never waits for a lock
(busy_timeout 0). All else goes to the `LogReader`, which has connections of its own in a thread of its own.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import Batch
from chat_server.core.ports.records import RoomRecord, SessionRecord, StoredConversation
from chat_server.core.ports.store import UNBOUNDED_BYTES, StoreUnavailable
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.connect import connect, transaction
from chat_server.engines.sqlite.reader import LogReader
from chat_server.engines.sqlite.retention import SCAN_STEP_ROOMS, SurplusMessage
from chat_server.engines.sqlite.rows import INSERT, to_row
from chat_server.engines.sqlite.schema import LOG_MIGRATIONS, migrate
from chat_server.engines.sqlite.tail_guard import TailGuard

WAL_PAUSE_BYTES: Final = 64 * 1024 * 1024
"""A longer write-ahead log pauses ingest until a checkpoint has taken it in."""

T = TypeVar("T")

_WRITE_PROBE: Final = (
    "INSERT INTO meta (key, value) VALUES ('trial', '')",
    "DELETE FROM meta WHERE key = 'trial'",
)
"""What an empty batch writes: a page as it was before. An empty transaction would write none, so it would not
notice that the disk is full."""

Offload = Callable[..., Any]
"""Runs a function in a native thread while the caller's greenlet waits (gevent's ThreadPool.apply)."""


class StoreLocked(Exception):  # noqa: N818  says what is the matter
    """Another server holds the data file."""


class SqliteStore:
    """One data file, held for life by one server.

    Raises `StoreLocked`, `SchemaTooNew`, `OSError` or `sqlite3.Error` where the file cannot be used.
    """

    def __init__(self, path: Path, *, full_sync: bool, offload: Offload, read_offload: Offload) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._full_sync = full_sync
        self._offload = offload
        self._read_offload = read_offload
        self._lock = _lock_data_file(path)
        try:
            self._connection = connect(path, full_sync=full_sync)
        except BaseException:
            self._lock.close()
            raise
        try:
            migrate(self._connection, LOG_MIGRATIONS, str(path))
            self._last_id = self._max_id("SELECT max(id) FROM log")
            self._last_identity = self._max_id("SELECT max(id) FROM identities")
            self._last_room_id = self._max_id("SELECT max(id) FROM rooms")
            self._file_lost = False
            self._deleted_unindexed: dict[
                int, int
            ] = {}  # what was deleted and has still to be forgotten by the index
            self._next_trim_room = 1  # the room at which the next look for too many messages begins
            self._index_cleaned = (
                False  # whether the index was freed of what the last run deleted from the log alone
            )
            self._tail_guard = TailGuard(path.with_name(path.name + "-mark"), path)
            self.epoch, self.epoch_changed = self._begin_epoch()
            self._known_inodes = self._current_inodes()
            self.reader = LogReader(path, self.epoch)
        except BaseException:
            self._connection.close()
            self._lock.close()
            raise

    def public_rooms(self) -> Iterable[RoomRecord]:
        """Return all public rooms with their last seqs; raise `StoreUnavailable`."""
        try:
            rows = self._connection.execute(
                "SELECT id, name, key, trimmed FROM rooms WHERE low IS NULL ORDER BY id"
            ).fetchall()
            heads = self.reader.heads([row[0] for row in rows], self._last_id)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return [
            RoomRecord(name, key, id=room, seq=max(heads[room], trimmed)) for room, name, key, trimmed in rows
        ]

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return the sessions that have not ended; raise `StoreUnavailable`."""
        try:
            return registry.sessions(self._connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
        """Return the conversations of `identities`, and forget who has which of the others open."""
        try:
            found = registry.conversations(self._connection, identities)
            heads = self.reader.heads([talk.room.id for talk in found], self._last_id)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        for talk in found:
            talk.room.seq = max(talk.room.seq, heads[talk.room.id])
        return found

    def new_identity(self) -> int:
        """Return the next number; it is stored with the first thing that needs it."""
        self._last_identity += 1
        return self._last_identity

    def append(self, batch: Batch) -> None:
        """Commit the batch. May wait for the disk with `--sync full`, never otherwise.

        An empty one leaves nothing behind, but is written as any other: it shows whether one can be.
        """
        if self._file_lost:
            self._check_file()
        last_id = self._last_id
        for draft in batch.messages:
            record = draft.room.record
            record.seq = draft.seq = record.seq + 1
            last_id += 1
            draft.id = last_id
        try:
            if self._full_sync:
                self._offload(self._write_batch, batch)
            else:
                self._write_batch(batch)
        except sqlite3.Error as error:
            self._undo_batch(batch)
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            self._undo_batch(batch)
            raise
        self._last_id = last_id
        self._tail_guard.advance(last_id)

    def refs(self, session: str, limit: int) -> dict[str, int]:
        """Look a session's refs up in the archive's thread."""
        return self._run_in_reader(self.reader.refs, session, limit, self._last_id)

    def read(
        self,
        room: RoomRecord,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        """Read a range in the archive's thread."""
        return self._run_in_reader(
            self.reader.read, room.id, room.name, after, before, limit, newest, size, self._last_id
        )

    def find_message(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Read one row of the log in the archive's thread."""
        return self._run_in_reader(self.reader.find, message_id)

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete up to `retention.TRIM_STEP_MESSAGES` messages between commits; the reader thread finds them.

        The log's last row stays whatever its age: what ids and the mark were given out rests on it.
        """
        self._check_file()
        found = self._find_surplus(keep, before)
        if found:
            trimmed = {one.room: one.seq for one in found}  # in the order of the seqs: the last one counts
            try:
                if self._full_sync:
                    self._offload(self._delete_messages, found, trimmed)
                else:
                    self._delete_messages(found, trimmed)
            except sqlite3.Error as error:
                raise StoreUnavailable(str(error)) from error
            self._deleted_unindexed |= trimmed
        if self._deleted_unindexed:
            self._run_in_reader(self.reader.unindex, self._deleted_unindexed, self._last_id)
        deleted, self._deleted_unindexed = self._deleted_unindexed, {}
        return deleted

    def _find_surplus(self, keep: int, before: float) -> list[SurplusMessage]:
        """Return what is to be deleted next; begins with the rooms where it found something last time."""
        found: list[SurplusMessage] = (
            self._run_in_reader(self.reader.surplus_by_age, before, self._last_id) if before else []
        )
        if found or (self._index_cleaned and not keep):
            return found
        begin = self._next_trim_room
        for first in (
            *range(begin, self._last_room_id + 1, SCAN_STEP_ROOMS),
            *range(1, begin, SCAN_STEP_ROOMS),
        ):
            found = self._run_in_reader(
                self.reader.surplus_by_count, range(first, first + SCAN_STEP_ROOMS), keep, self._last_id
            )
            if found:
                self._next_trim_room = first
                return found
        self._index_cleaned = True
        return found

    def _delete_messages(self, found: list[SurplusMessage], trimmed: dict[int, int]) -> None:
        connection = self._connection
        with transaction(connection, "BEGIN IMMEDIATE"):
            connection.executemany("DELETE FROM log WHERE id = ?", [(one.id,) for one in found])
            connection.executemany(
                "UPDATE rooms SET trimmed = max(trimmed, ?) WHERE id = ?",
                [(seq, room) for room, seq in trimmed.items()],
            )

    def _check_file(self) -> None:
        """Notice that the data file or its write-ahead log was removed or replaced: writing is of no use."""
        found = self._current_inodes()
        if self._known_inodes[1] is None:  # the log is begun with the first write
            self._known_inodes[1] = found[1]
        self._file_lost = found != self._known_inodes
        if self._file_lost:
            raise StoreUnavailable(f"{self.path} was removed or replaced while in use: restart the server")

    def _current_inodes(self) -> list[tuple[int, int] | None]:
        """Return which files there are, None where there is none."""
        found: list[tuple[int, int] | None] = []
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                status = path.stat()
                found.append((status.st_dev, status.st_ino))
            except FileNotFoundError:
                found.append(None)
        return found

    def maintain(self, *, truncate: bool = False) -> int:
        """Index what is new and take the write-ahead log into the data file; return the log's bytes.

        Called about once a second: this is the fsync that bounds what a loss of power can cost. `truncate`
        empties the log; appends must pause meanwhile. May wait. Raises `StoreUnavailable`.
        """
        self._check_file()
        return self._run_in_reader(self.reader.maintain, self._last_id, truncate)

    def _run_in_reader(self, function: Callable[..., T], *args: Any) -> T:
        """Let the archive do something in its thread; raise `StoreUnavailable`."""
        try:
            answer: T = self._read_offload(function, *args)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return answer

    def close(self) -> None:
        """Take everything into the file and let go of it.

        Raises `sqlite3.Error` where that fails, and has let go all the same.
        """
        clean = False
        try:
            self.reader.close(self._last_id)
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            clean = not busy  # else another program reads the file, and the write-ahead log stays
        finally:
            self._connection.close()
            self._tail_guard.close(clean=clean)
            self._lock.close()

    def _begin_epoch(self) -> tuple[str, bool]:
        """Return the epoch: the one of last time if the log has all that was in it, else a new one."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        epoch = row[0] if row else ""
        changed = bool(epoch)
        if not epoch or not self._tail_guard.matches(self._last_id, epoch):
            epoch = secrets.token_hex(8)
            with transaction(self._connection):
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
                self._connection.execute("DELETE FROM sessions")  # none can be resumed, so no name is held
        else:
            changed = False
        self._tail_guard.mark_in_use(self._last_id, epoch, synced=self._full_sync)
        return epoch, changed

    def _max_id(self, query: str) -> int:
        (value,) = self._connection.execute(query).fetchone()
        return value or 0

    def _write_batch(self, batch: Batch) -> None:
        connection = self._connection
        if batch.registry_changes is None and len(batch.messages) == 1:
            connection.execute(INSERT, to_row(batch.messages[0], batch.timestamp))  # its own transaction
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if batch.registry_changes is not None:
                self._last_room_id = registry.write_changes(
                    connection, batch.registry_changes, batch.timestamp, self._last_room_id
                )
            if batch.messages:
                timestamp = batch.timestamp
                connection.executemany(INSERT, [to_row(draft, timestamp) for draft in batch.messages])
            elif batch.registry_changes is None:
                for statement in _WRITE_PROBE:
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _undo_batch(self, batch: Batch) -> None:
        """Take back the numbers of a batch that is not stored."""
        for draft in batch.messages:
            draft.room.record.seq -= 1
            draft.seq = draft.id = 0
        for record in batch.registry_changes.rooms if batch.registry_changes else ():
            if not record.queued:
                record.id, record.queued = 0, True
                record.name = record.name.partition("#")[0]  # which no name holds
                record.key = record.key.partition("#")[0]


def _lock_data_file(path: Path) -> IO[str]:
    """Hold the data file for life; raise `StoreLocked` with the pid that does."""
    descriptor = os.open(path.with_name(path.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreLocked(f"{path} is in use by the server with process id {holder}") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
