"""The log in SQLite: appended to by the hub, indexed and read by one native thread.

Knows SQL and files. Must not know rooms' members or sessions' sockets. The hub's connection only appends: a
commit takes microseconds, since it writes to the page cache (`--sync normal`) and never waits for a lock
(busy_timeout 0). All else goes to the `Archive`, which has connections of its own in a thread of its own.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Final

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.ports import StoreUnavailable
from chat_server.core.records import Batch, Records, RoomRecord
from chat_server.store.archive import Archive
from chat_server.store.connect import connect
from chat_server.store.mark import Mark
from chat_server.store.rows import INSERT, to_row
from chat_server.store.schema import LOG_MIGRATIONS, migrate

WAL_PAUSE_BYTES: Final = 64 * 1024 * 1024
"""A longer write-ahead log pauses ingest until a checkpoint has taken it in."""

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
        self._full = full_sync
        self._offload = offload
        self._read_offload = read_offload
        self._lock = _lock(path)
        try:
            self._connection = connect(path, full_sync=full_sync)
        except BaseException:
            self._lock.close()
            raise
        try:
            migrate(self._connection, LOG_MIGRATIONS, str(path))
            self._last_id = self._max("SELECT max(id) FROM log")
            self._identity = self._max("SELECT max(id) FROM identities")
            self._room = self._max("SELECT max(id) FROM rooms")
            status = path.stat()
            self._file = (status.st_dev, status.st_ino)
            self._lost = False
            self._mark = Mark(path.with_name(path.name + "-mark"), path)
            self.epoch, self.epoch_changed = self._begin_epoch()
            self.archive = Archive(path, self.epoch)
        except BaseException:
            self._connection.close()
            self._lock.close()
            raise

    def public_rooms(self) -> Iterable[RoomRecord]:
        """Return all public rooms with their last seqs; raise `StoreUnavailable`."""
        try:
            rows = self._connection.execute(
                "SELECT id, name, key FROM rooms WHERE low IS NULL ORDER BY id"
            ).fetchall()
            heads = self.archive.heads([room for room, _, _ in rows], self._last_id)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return [RoomRecord(name, key, id=room, seq=heads[room]) for room, name, key in rows]

    def new_identity(self) -> int:
        """Return the next number; it is stored with the first thing that needs it."""
        self._identity += 1
        return self._identity

    def append(self, batch: Batch) -> None:
        """Commit the batch. May wait for the disk with `--sync full`, never otherwise."""
        if self._lost:
            self._check_file()
        last_id = self._last_id
        for draft in batch.messages:
            record = draft.room.record
            record.seq = draft.seq = record.seq + 1
            last_id += 1
            draft.id = last_id
        try:
            if self._full:
                self._offload(self._write, batch)
            else:
                self._write(batch)
        except sqlite3.Error as error:
            self._undo(batch)
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            self._undo(batch)
            raise
        self._last_id = last_id
        self._mark.advance(last_id)

    def read(
        self, room: RoomRecord, after: int, before: int, limit: int, *, newest: bool
    ) -> list[MessageEvent]:
        """Read a range in the archive's thread."""
        try:
            found: list[MessageEvent] = self._read_offload(
                self.archive.read, room.id, room.name, after, before, limit, newest, self._last_id
            )
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return found

    def find(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Read one row of the log in the archive's thread."""
        try:
            found: tuple[int, MessageEvent] | None = self._read_offload(self.archive.find, message_id)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return found

    def _check_file(self) -> None:
        """Notice that the data file was removed or replaced: what is written now is lost at the stop."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._lost = True
        else:
            self._lost = (status.st_dev, status.st_ino) != self._file
        if self._lost:
            raise StoreUnavailable(f"{self.path} was removed or replaced while in use: restart the server")

    def maintain(self, *, truncate: bool = False) -> int:
        """Index what is new and take the write-ahead log into the data file; return the log's bytes.

        Called about once a second: this is the fsync that bounds what a loss of power can cost. `truncate`
        empties the log; appends must pause meanwhile. May wait. Raises `StoreUnavailable`.
        """
        self._check_file()
        try:
            size: int = self._read_offload(self.archive.maintain, self._last_id, truncate)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return size

    def close(self) -> None:
        """Take everything into the file and let go of it.

        Raises `sqlite3.Error` where that fails, and has let go all the same.
        """
        clean = False
        try:
            self.archive.close(self._last_id)
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            clean = not busy  # else another program reads the file, and the write-ahead log stays
        finally:
            self._connection.close()
            self._mark.close(clean=clean)
            self._lock.close()

    def _begin_epoch(self) -> tuple[str, bool]:
        """Return the epoch: the one of last time if the log has all that was in it, else a new one."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        epoch = row[0] if row else ""
        changed = bool(epoch)
        if not epoch or not self._mark.trusted(self._last_id, epoch):
            epoch = secrets.token_hex(8)
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
        else:
            changed = False
        self._mark.begin(self._last_id, epoch, synced=self._full)
        return epoch, changed

    def _max(self, query: str) -> int:
        (value,) = self._connection.execute(query).fetchone()
        return value or 0

    def _write(self, batch: Batch) -> None:
        connection = self._connection
        if batch.records is None and len(batch.messages) == 1:
            connection.execute(INSERT, to_row(batch.messages[0], batch.timestamp))  # its own transaction
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if batch.records is not None:
                self._write_records(batch.records, batch.timestamp)
            if batch.messages:
                timestamp = batch.timestamp
                connection.executemany(INSERT, [to_row(draft, timestamp) for draft in batch.messages])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write_records(self, records: Records, now: float) -> None:
        connection = self._connection
        connection.executemany(
            "INSERT OR IGNORE INTO identities (id, kind, name, created) VALUES (?, ?, ?, ?)",
            [(one.id, one.kind, one.name, now) for one in records.identities],
        )
        connection.executemany(
            "INSERT INTO sessions (id, identity, name, secret_hash, created) VALUES (?, ?, ?, ?, ?)",
            [(one.id, one.identity, one.name, one.secret_hash, now) for one in records.sessions],
        )
        for record in records.rooms:
            self._room += 1
            low, high = record.pair or (None, None)
            name, key = (record.name, record.key) if low is None else self._free_name(record)
            connection.execute(
                "INSERT INTO rooms (id, name, key, low, high, created) VALUES (?, ?, ?, ?, ?, ?)",
                (self._room, name, key, low, high, now),
            )
            record.id, record.name, record.key, record.queued = self._room, name, key, False

    def _free_name(self, record: RoomRecord) -> tuple[str, str]:
        """Return the conversation's name, numbered if other identities had one of the same names."""
        name, key = record.name, record.key
        (taken,) = self._connection.execute(
            "SELECT count(*) FROM rooms WHERE key = ? OR key > ? AND key < ?",
            (key, f"{key}#", f"{key}$"),  # the character after "#": all the numbered ones
        ).fetchone()
        if taken:
            name = f"{name}#{taken + 1}"
        return name, names.fold(name)

    def _undo(self, batch: Batch) -> None:
        """Take back the numbers of a batch that is not stored."""
        for draft in batch.messages:
            draft.room.record.seq -= 1
            draft.seq = draft.id = 0
        for record in batch.records.rooms if batch.records else ():
            if not record.queued:
                record.id, record.queued = 0, True
                record.name = record.name.partition("#")[0]  # which no name holds
                record.key = record.key.partition("#")[0]


def _lock(path: Path) -> IO[str]:
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
