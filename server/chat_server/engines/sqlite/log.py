"""The message log in SQLite: appended to in the event loop, indexed and read in one native thread.

The loop's connection only appends: a commit takes microseconds, since it writes to the page cache (`--sync
normal`) and never waits for a lock (busy_timeout 0). Everything else goes to the `LogReader`, which has
connections and a thread of its own.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import structs

from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import (
    UNBOUNDED_BYTES,
    Appended,
    ConversationRow,
    NewMessage,
    StoredAt,
    StoreUnavailable,
)
from chat_server.core.ports.registry import RegistryChanges, SessionRecord, StoredConversation, StoredRoom
from chat_server.engines.sqlite import deletion, registry
from chat_server.engines.sqlite.connect import connect, transaction
from chat_server.engines.sqlite.data_file_lock import lock_data_file
from chat_server.engines.sqlite.reader import LogReader
from chat_server.engines.sqlite.rows import INSERT, Row
from chat_server.engines.sqlite.schema import LOG_MIGRATIONS, migrate
from chat_server.engines.sqlite.sizes import disk_sizes
from chat_server.engines.sqlite.tail_guard import TailGuard

WAL_PAUSE_BYTES: Final = 64 * 1024 * 1024
"""Size of the write-ahead log above which commits pause until a checkpoint has emptied it."""

T = TypeVar("T")

_WRITE_PROBE: Final = (
    "INSERT INTO meta (key, value) VALUES ('trial', '')",
    "DELETE FROM meta WHERE key = 'trial'",
)
"""Statements of an empty append: they rewrite a page without a change. An empty transaction would write
nothing, and so not notice a full disk."""

Offload = Callable[..., Any]
"""Runs a function in a native thread while the calling greenlet waits (gevent's ThreadPool.apply)."""


class SqliteEngine:
    """One data file, locked by one server while it runs. `clock`: seconds since the epoch, for timestamps.

    Raises `StoreLocked`, `SchemaTooNew`, `OSError` or `sqlite3.Error` if the file cannot be used.
    """

    kind = "sqlite"
    pause_above_bytes = WAL_PAUSE_BYTES

    def __init__(
        self,
        path: Path,
        *,
        full_sync: bool,
        offload: Offload,
        read_offload: Offload,
        clock: Callable[[], float] = time.time,
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.location, self.folder = str(path), str(path.parent)
        self.sync: str | None = "full" if full_sync else "normal"
        self._full_sync = full_sync
        self._offload = offload
        self._read_offload = read_offload
        self._clock = clock
        self._lock = lock_data_file(path)
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
            self._heads: dict[int, int] = {}  # last seq issued by id, of rooms that may get messages
            # By room id, the seq up to which messages are hidden: of ended rooms, until they are deleted.
            self._hidden = registry.hidden_seqs(self._connection)
            self._surplus = deletion.Surplus(self._connection, self._hidden)
            self._file_lost = False
            # Last deleted seq by room, still to be deleted from the index.
            self._deleted_unindexed: dict[int, int] = {}
            self._tail_guard = TailGuard(path.with_name(path.name + "-mark"), path)
            self.epoch, self.epoch_changed = self._begin_epoch()
            self._known_inodes = self._current_inodes()
            self.reader = LogReader(path, self.epoch)
        except BaseException:
            self._connection.close()
            self._lock.close()
            raise

    # Registry

    def public_rooms(self) -> list[StoredRoom]:
        """Return the public rooms, by their last messages. Raises `StoreUnavailable`."""
        try:
            rooms = self._load_heads(registry.public_rooms(self._connection))
            last_rows = self.reader.last_rows([room.id for room in rooms])
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return sorted(rooms, key=lambda room: last_rows[room.id])

    def ended_head(self, key: str) -> int:
        """Return the last seq of an ended room, else 0. Raises `StoreUnavailable`."""
        try:
            return registry.ended_head(self._connection, key)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return the sessions that have not ended. Raises `StoreUnavailable`."""
        try:
            return registry.sessions(self._connection)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
        """Return the conversations of `identities`, and close all others. Raises `StoreUnavailable`."""
        try:
            found = registry.conversations(self._connection, identities)
            rooms = self._load_heads([conversation.room for conversation in found])
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return [structs.replace(one, room=room) for one, room in zip(found, rooms, strict=True)]

    def conversation_named(self, key: str) -> StoredRoom | None:
        """Look a conversation up, in the reader thread."""
        return self._run_in_reader(self.reader.conversation, key, self._last_id)

    def _load_heads(self, rooms: Sequence[StoredRoom]) -> list[StoredRoom]:
        """Return the rooms with the heads of the messages that are kept, and issue later seqs from there."""
        heads = self.reader.heads([room.id for room in rooms], self._last_id)
        found = [structs.replace(room, head=max(room.head, heads[room.id])) for room in rooms]
        self._heads.update((room.id, room.head) for room in found)
        return found

    def new_identity(self) -> int:
        """Return the next identity number; it is stored by the first `write` that has it."""
        self._last_identity += 1
        return self._last_identity

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        """Commit the changes. May wait for the disk with `--sync full`, never otherwise."""
        if self._file_lost:
            self._check_file()
        # Its own heads: no seq that was issued may be issued again, whatever the caller knows.
        ended = [max(room.head, self._heads.get(room.id, 0)) for room in changes.ended_rooms]
        arguments = self._connection, changes, ended, round(self._clock(), 6), self._last_room_id
        try:
            rooms: list[StoredRoom] = (
                self._offload(registry.write_changes, *arguments)
                if self._full_sync
                else registry.write_changes(*arguments)
            )
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        for gone, head in zip(changes.ended_rooms, ended, strict=True):
            self._heads.pop(gone.id, None)
            self._hidden[gone.id] = head
        for room in rooms:
            if room.id > self._last_room_id:
                self._last_room_id, self._heads[room.id] = room.id, 0
            elif room.head:  # it had ended
                self._heads[room.id] = room.head
        known = [room for room in rooms if room.id not in self._heads]  # stored earlier, and released
        if known:
            self._load_heads(known)
        return [structs.replace(room, head=self._heads[room.id]) for room in rooms]

    # Log

    def append(self, messages: Sequence[NewMessage], states: Sequence[ConversationRow] = ()) -> Appended:
        """Commit the batch. May wait for the disk with `--sync full`, never otherwise.

        An empty one changes nothing, but is written like any other, so that it shows whether writes succeed.
        """
        if self._file_lost:
            self._check_file()
        timestamp = int(self._clock() * 1e6 + 0.5) / 1e6  # in microseconds; `round` takes six times as long
        heads = self._heads
        row_id = self._last_id
        bases: dict[int, int] = {}
        rows: list[Row] = []
        stored_at: list[Any] = []  # opaque to the core: ids of rows
        try:
            for message in messages:
                room = message.room
                head = heads[room]
                if room not in bases:
                    bases[room] = head
                heads[room] = seq = head + 1
                row_id += 1
                stored_at.append(row_id)
                rows.append(
                    (
                        row_id,
                        room,
                        seq,
                        message.session,
                        message.identity,
                        message.ref,
                        message.username,
                        message.text,
                        timestamp,
                        message.origin,
                    )
                )
            if self._full_sync:
                self._offload(self._write_batch, rows, states)
            else:
                self._write_batch(rows, states)
        except BaseException as error:
            heads.update(bases)
            if isinstance(error, sqlite3.Error):
                raise StoreUnavailable(str(error)) from error
            raise
        self._last_id = row_id
        self._tail_guard.advance(row_id)
        return Appended(timestamp, bases, stored_at)

    def _write_batch(self, rows: Sequence[Row], states: Sequence[ConversationRow]) -> None:
        connection = self._connection
        if len(rows) == 1 and not states:
            connection.execute(INSERT, rows[0])  # its own transaction
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            registry.write_states(connection, states)
            connection.executemany(INSERT, rows)
            if not rows and not states:
                for statement in _WRITE_PROBE:
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def release(self, room: int) -> None:
        """Forget the head of a room that gets no more messages."""
        self._heads.pop(room, None)

    def refs(self, session: str, limit: int) -> dict[int, StoredAt]:
        """Read a session's refs, in the reader thread."""
        return self._run_in_reader(self.reader.refs, session, limit, self._last_id)

    def read(
        self,
        room: int,
        name: str,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        """Read a range of messages, in the reader thread."""
        after = max(after, self._hidden.get(room, 0))
        return self._run_in_reader(
            self.reader.read, room, name, after, before, limit, newest, size, self._last_id
        )

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Read one row of the log, in the reader thread."""
        return self._run_in_reader(self.reader.find, stored_at)

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete up to `retention.TRIM_STEP_MESSAGES` messages between commits; the reader thread finds them.

        The last row of the log is kept whatever its age: the next id and the tail guard depend on it.
        """
        self._check_file()
        found = self._surplus.find(
            self.reader,
            self._run_in_reader,
            self._run_write,
            keep=keep,
            before=before,
            last_id=self._last_id,
            last_room=self._last_room_id,
        )
        if found:
            trimmed = {one.room: one.seq for one in found}  # ascending, so the last seq of a room remains
            self._run_write(deletion.delete_messages, self._connection, found, trimmed)
            self._deleted_unindexed |= trimmed
        if self._deleted_unindexed:
            self._run_in_reader(self.reader.unindex, self._deleted_unindexed, self._last_id)
        deleted, self._deleted_unindexed = self._deleted_unindexed, {}
        return deleted

    def _run_write(self, write: Callable[..., None], *args: Any) -> None:
        """Run a transaction of the appending connection. Raises `StoreUnavailable`."""
        try:
            if self._full_sync:
                self._offload(write, *args)
            else:
                write(*args)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def _check_file(self) -> None:
        """Raise `StoreUnavailable` if the data file or its write-ahead log was removed or replaced."""
        found = self._current_inodes()
        if self._known_inodes[1] is None:  # SQLite creates it with the first write
            self._known_inodes[1] = found[1]
        self._file_lost = found != self._known_inodes
        if self._file_lost:
            raise StoreUnavailable(f"{self.path} was removed or replaced while in use: restart the server")

    def _current_inodes(self) -> list[tuple[int, int] | None]:
        """Return device and inode of the data file and its write-ahead log, None for a missing file."""
        found: list[tuple[int, int] | None] = []
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                status = path.stat()
                found.append((status.st_dev, status.st_ino))
            except FileNotFoundError:
                found.append(None)
        return found

    def maintain(self, *, truncate: bool = False) -> int:
        """Update the index and checkpoint the write-ahead log; return the bytes of the write-ahead log.

        Called about once a second: its fsync bounds what a power loss can cost. `truncate` empties the
        write-ahead log; appends MUST pause meanwhile. May wait. Raises `StoreUnavailable`.
        """
        self._check_file()
        return self._run_in_reader(self.reader.maintain, self._last_id, truncate)

    def disk_sizes(self) -> dict[str, int]:
        """Return the bytes of data and write-ahead logs, and those free, by their names in the event log."""
        return disk_sizes(self.path)

    def _run_in_reader(self, function: Callable[..., T], *args: Any) -> T:
        """Run a method of the reader in its thread and return its result. Raises `StoreUnavailable`."""
        try:
            answer: T = self._read_offload(function, *args)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return answer

    def close(self) -> None:
        """Checkpoint the write-ahead log and close the files.

        Raises `sqlite3.Error` if the checkpoint fails; the files are closed in any case.
        """
        clean = False
        try:
            self.reader.close(self._last_id)
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            clean = not busy  # else another program reads the file, and the write-ahead log remains
        finally:
            self._connection.close()
            self._tail_guard.close(clean=clean)
            self._lock.close()

    def _begin_epoch(self) -> tuple[str, bool]:
        """Return the epoch, and whether it replaces an earlier one because the log has lost its tail."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        epoch = row[0] if row else ""
        changed = bool(epoch)
        if not epoch or not self._tail_guard.matches(self._last_id, epoch):
            epoch = secrets.token_hex(8)
            with transaction(self._connection):
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
                self._connection.execute(
                    "DELETE FROM sessions"
                )  # none can be resumed, so no name must be held
        else:
            changed = False
        self._tail_guard.mark_in_use(self._last_id, epoch, synced=self._full_sync)
        return epoch, changed

    def _max_id(self, query: str) -> int:
        (value,) = self._connection.execute(query).fetchone()
        return value or 0
