"""The message log in SQLite: appended to in the event loop, read and looked after in native threads.

The loop's connection only appends: a commit takes microseconds, since it writes to the page cache (`--sync
normal`) and never waits for a lock (busy_timeout 0). Everything else has connections and threads of its own:
one for history, one for sessions that catch up, one for the upkeep, so that none of them waits for another.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

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
from chat_server.engines.engine import IndexRebuilt, Unreadable
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.connect import connect
from chat_server.engines.sqlite.damage import UnreadableRows
from chat_server.engines.sqlite.data_file_lock import DataFileLock, check_regular
from chat_server.engines.sqlite.files import FileWatch, disk_sizes
from chat_server.engines.sqlite.index import Index
from chat_server.engines.sqlite.reader import LogReader
from chat_server.engines.sqlite.retention import Retention
from chat_server.engines.sqlite.rows import INSERT, WRITE_PROBE, Author, Row
from chat_server.engines.sqlite.schema import LOG_MIGRATIONS, check_own, migrate
from chat_server.engines.sqlite.tail_guard import TailGuard, begin_epoch
from chat_server.engines.sqlite.upkeep import Offload, Upkeep, WriteGate, run_here, run_offloaded
from chat_server.engines.sqlite.wal.guard import WalGuard

WAL_PAUSE_BYTES: Final = 64 * 1024 * 1024
"""Size of the write-ahead log above which commits pause until a checkpoint has emptied it."""

AUTHORS_KEPT: Final = 4096
"""Sessions of which the common part of their rows is remembered; with more, all are forgotten."""


class SqliteEngine:
    """One data file, locked by one server while it runs. `clock`: seconds since the epoch, for timestamps.

    `read_offload` reads history, `feed_offload` what sessions miss, `upkeep_offload` does the maintenance;
    each in a native thread, all in the one of `read_offload` if the others are not given. Raises
    `StoreLocked`, `ForeignFile`, `SchemaTooNew`, `OSError` or `sqlite3.Error` if the file cannot be used.
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
        feed_offload: Offload | None = None,
        upkeep_offload: Offload | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path = Path(os.path.realpath(path))
        self.location, self.folder = str(path), str(path.parent)
        self.sync: str | None = "full" if full_sync else "normal"
        self._full_sync = full_sync
        self._offload = offload
        self._read_offload = read_offload
        self._feed_offload = feed_offload or read_offload
        self._upkeep_offload = upkeep_offload or read_offload
        self._clock = clock
        with contextlib.ExitStack() as opened:
            self._open(path, opened)
            self._opened = opened.pop_all()  # closed in the reverse order

    def _open(self, path: Path, opened: contextlib.ExitStack) -> None:
        check_regular(path)
        self._wal = WalGuard(path)
        check_own(path)
        self._lock = DataFileLock(path)
        opened.callback(self._lock.release)
        self._tail_guard = opened.enter_context(contextlib.closing(TailGuard(Path(f"{path}-mark"), path)))
        self._wal.set_aside_older(is_original=self._tail_guard.is_same_file())
        opened.callback(self._wal.close)
        self._connection = connect(path, full_sync=self._full_sync)
        opened.callback(self._connection.close)
        migrate(self._connection, LOG_MIGRATIONS, str(path))
        self._last_id, self._last_identity, self._last_room_id = registry.last_ids(self._connection)
        self._heads: dict[int, int] = {}  # last seq issued by id, of rooms that may get messages
        # By room id, the seq up to which messages are hidden: of ended rooms, until they are deleted.
        self._hidden = registry.hidden_seqs(self._connection)
        self._authors: dict[str, Author] = {}  # by session
        self.epoch, self.epoch_changed = self._begin_epoch()
        self._unreadable = UnreadableRows()
        self.index = Index(path, self.epoch, self._last_id)
        opened.callback(lambda: self.index.close(self._last_id))
        self.history_reader, self.feed_reader, self._loop_reader = (
            self._open_reader(opened) for _ in range(3)
        )
        self._index_rows()
        self._gate = WriteGate(path, FileWatch(path, self._wal.look), self._clock)
        self.index.on_replacing = self._gate.watch.ignore_index
        self.index.on_replaced = self._gate.watch.accept_index
        self._upkeep = Upkeep(
            self._connection,
            self._gate,
            self.index,
            Retention(self.index, self._unreadable),
            self._hidden,
            self._wal,
            checkpoints=opened.enter_context(contextlib.closing(connect(path, full_sync=False))),
            write_offload=self._offload if self._full_sync else run_here,
            offload=self._upkeep_offload,
        )

    def _open_reader(self, opened: contextlib.ExitStack) -> LogReader:
        return opened.enter_context(contextlib.closing(LogReader(self.path, self.index, self._unreadable)))

    def _index_rows(self) -> None:
        """Index what is not indexed yet, unless a thread does it, and begin a new epoch if rows are lost."""
        # A full disk must not prevent a start: rows that are not indexed are searched in the log itself, and
        # maintenance reports the error.
        with contextlib.suppress(sqlite3.OperationalError, StoreUnavailable):
            self.index.update(self._last_id)
        _, skipped = self._loop_reader.heads((), self._last_id)
        if skipped and not self.epoch_changed:
            self.epoch, self.epoch_changed = self._begin_epoch(tail_lost=True)
            self.index.adopt_epoch(self.epoch)

    # What was found out

    @property
    def unreadable_messages(self) -> int:
        """Return how many messages this run has found to be unreadable."""
        return self._unreadable.messages

    def take_notices(self) -> list[Unreadable | IndexRebuilt]:
        """Return what was found out since the last call."""
        return [*self._unreadable.take_new(), *self.index.take_notices()]

    # Registry

    def public_rooms(self) -> list[StoredRoom]:
        """Return the public rooms, by their last messages. Raises `StoreUnavailable`."""
        try:
            rooms = self._load_heads(registry.public_rooms(self._connection, self._unreadable.note))
            last_rows = self._loop_reader.last_rows([room.id for room in rooms], self._last_id)
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
            return registry.sessions(self._connection, self._unreadable.note)
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
        """Return the conversations of `identities`, and close all others. Raises `StoreUnavailable`."""
        try:
            found = registry.conversations(self._connection, identities, self._unreadable.note)
            rooms = self._load_heads([conversation.room for conversation in found])
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error
        return [structs.replace(one, room=room) for one, room in zip(found, rooms, strict=True)]

    def conversation_named(self, key: str) -> StoredRoom | None:
        """Look a conversation up, in the thread for history."""
        return run_offloaded(self._read_offload, self.history_reader.conversation, key, self._last_id)

    def _load_heads(self, rooms: Sequence[StoredRoom]) -> list[StoredRoom]:
        """Return the rooms with the heads of the messages that are kept, and issue later seqs from there."""
        heads, _ = self._loop_reader.heads([room.id for room in rooms], self._last_id)
        found = [structs.replace(room, head=max(room.head, heads[room.id])) for room in rooms]
        self._heads.update((room.id, room.head) for room in found)
        return found

    def new_identity(self) -> int:
        """Return the next identity number; it is stored by the first `write` that has it."""
        self._last_identity += 1
        return self._last_identity

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        """Commit the changes. May wait for the disk with `--sync full`, never otherwise."""
        now = self._clock()
        if not self._gate.looked_at <= now < self._gate.look_due_at:
            self._gate.check()
        # Its own heads: no seq that was issued may be issued again, whatever the caller knows.
        ended = [max(room.head, self._heads.get(room.id, 0)) for room in changes.ended_rooms]
        arguments = self._connection, changes, ended, round(now, 6), self._last_room_id
        try:
            rooms: list[StoredRoom] = (
                self._offload(registry.write_changes, *arguments)
                if self._full_sync
                else registry.write_changes(*arguments)
            )
        except sqlite3.Error as error:
            raise self._gate.write_failed(error) from error
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
            try:
                self._load_heads(known)
            except sqlite3.Error as error:
                raise StoreUnavailable(str(error)) from error
        return [structs.replace(room, head=self._heads[room.id]) for room in rooms]

    # Log

    def append(self, messages: Sequence[NewMessage], states: Sequence[ConversationRow] = ()) -> Appended:
        """Commit the batch. May wait for the disk with `--sync full`, never otherwise.

        An empty one changes nothing, but is written like any other, so that it shows whether writes succeed.
        """
        gate = self._gate
        timestamp = int(self._clock() * 1e6 + 0.5) / 1e6  # in microseconds; `round` takes six times as long
        if not gate.looked_at <= timestamp < gate.look_due_at:
            gate.check()
        heads, authors = self._heads, self._authors
        row_id = self._last_id
        bases: dict[int, int] = {}
        rows: list[Row] = []
        try:
            for message in messages:
                room = message.room
                head = heads[room]
                if room not in bases:
                    bases[room] = head
                heads[room] = seq = head + 1
                row_id += 1
                session, identity, username = message.session, message.identity, message.username
                ref, text = message.ref, message.text
                author = authors.get(session)
                # `is` takes a third of `==`; equal objects that are others make a new author
                if (
                    author is None
                    or author.username is not username
                    or author.identity is not identity
                    or author.origin is not message.origin
                ):
                    author = self._remember_author(message)
                rows.append(
                    (
                        row_id,
                        room,
                        seq,
                        session,
                        identity,
                        ref,
                        username,
                        text,
                        timestamp,
                        author.origin_text,
                        crc32(  # `rows.checksum`, inlined: this saves a call per message
                            (text if ref is None else ref + text).encode(),
                            author.crc + row_id + 3 * seq + 5 * room,
                        ),
                    )
                )
            if self._full_sync:
                self._offload(self._write_batch, rows, states)
            else:
                self._write_batch(rows, states)
        except BaseException as error:
            heads.update(bases)
            if isinstance(error, (sqlite3.Error, UnicodeDecodeError)):
                raise self._gate.write_failed(error) from error
            raise
        stored_at: Any = range(self._last_id + 1, row_id + 1)  # opaque to the core: ids of rows
        self._last_id = row_id
        try:
            self._tail_guard.advance(row_id)
        except OSError as error:  # the batch is stored; the next one is not
            gate.stop(f"cannot write {self.path}-mark: {error.strerror}")
        return Appended(timestamp, bases, stored_at)

    def _remember_author(self, message: NewMessage) -> Author:
        if len(self._authors) >= AUTHORS_KEPT:
            self._authors.clear()
        author = self._authors[message.session] = Author.of(message)
        return author

    def _write_batch(self, rows: Sequence[Row], states: Sequence[ConversationRow]) -> None:
        connection = self._connection
        if len(rows) == 1 and not states:
            connection.raw_execute(INSERT, rows[0])  # its own transaction
            return
        connection.raw_execute("BEGIN IMMEDIATE")
        try:
            registry.write_states(connection, states)
            connection.raw_executemany(INSERT, rows)
            if not rows and not states:
                for statement in WRITE_PROBE:
                    connection.raw_execute(statement)
            connection.raw_execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.raw_execute("ROLLBACK")
            raise

    def release(self, room: int) -> None:
        """Forget the head of a room that gets no more messages."""
        head = self._heads.pop(room, None)
        builder = self.index.builder
        if head is not None and builder is not None:
            builder.known_heads[room] = head

    def refs(self, session: str, limit: int) -> dict[int, StoredAt]:
        """Read a session's refs, in the thread for lagging sessions."""
        return run_offloaded(self._feed_offload, self.feed_reader.refs, session, limit, self._last_id)

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
        catching_up: bool = False,
    ) -> list[MessageEvent]:
        """Read a range of messages, in one of the reading threads."""
        offload, reader = (
            (self._feed_offload, self.feed_reader)
            if catching_up
            else (self._read_offload, self.history_reader)
        )
        after = max(after, self._hidden.get(room, 0))
        head = self._heads.get(room)
        return run_offloaded(
            offload, reader.read, room, name, after, before, limit, newest, size, self._last_id, head
        )

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Read one row of the log, in the thread for history."""
        return run_offloaded(self._read_offload, self.history_reader.find, stored_at)

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete up to `retention.TRIM_STEP_MESSAGES` messages between commits (sqlite/upkeep.py)."""
        return self._upkeep.trim(keep, before, self._last_id, self._last_room_id)

    def maintain(self, *, truncate: bool = False) -> int:
        """Checkpoint log and index; return the bytes of the write-ahead log (sqlite/upkeep.py)."""
        return self._upkeep.maintain(self._last_id, truncate=truncate)

    def disk_sizes(self) -> dict[str, int]:
        """Return the bytes of data and write-ahead logs, and those free, by their names in the event log."""
        return disk_sizes(self.path)

    def close(self) -> None:
        """Checkpoint the write-ahead log and close the files; one that is not whole is left as it is.

        Raises `sqlite3.Error` or `OSError` if that fails; the files are closed in any case.
        """
        with self._opened:
            intact = self._gate.is_open()
            for reader in (self.history_reader, self.feed_reader):
                reader.close()
            try:
                busy = self._wal.checkpoint(self._connection, "TRUNCATE")
            except BaseException:
                self._wal.prevent_checkpoint(self._loop_reader.give_away())
                self.index.close(self.index.watermark)
                raise
            self._loop_reader.close()
            self.index.close(self._last_id)
            self._tail_guard.clean = intact and not busy  # busy: another program reads, and the -wal remains

    def _begin_epoch(self, *, tail_lost: bool = False) -> tuple[str, bool]:
        return begin_epoch(
            self._connection, self._tail_guard, self._last_id, synced=self._full_sync, tail_lost=tail_lost
        )
