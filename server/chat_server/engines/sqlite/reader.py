"""Read side of the SQLite log: index, range reads, retention queries, checkpoints. Runs in the reader thread.

MUST NOT touch the event loop, sessions or the appending connection. A lock allows one call at a time; the
connections belong to the thread that holds it.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import UNBOUNDED_BYTES, StoredAt
from chat_server.core.ports.registry import StoredRoom
from chat_server.engines.sqlite import refs, retention
from chat_server.engines.sqlite.connect import READ_CACHE_KIB, connect, transaction
from chat_server.engines.sqlite.rows import COLUMNS, Row, from_row, text_bytes
from chat_server.engines.sqlite.schema import PLACE_MIGRATIONS, SchemaTooNew, migrate

INDEX_STEP_ROWS: Final = 20_000
"""Rows indexed in one transaction: enough to be cheap, few enough to let reads in between."""

MAINTENANCES_PER_PRUNE: Final = 8
"""Maintenance runs (about one a second) per pruning of the refs."""

T = TypeVar("T")

_READ: Final = (
    f"SELECT {', '.join('l.' + name for name in COLUMNS.split(', '))} "  # noqa: S608  names only
    "FROM place p JOIN log.log l ON l.id = p.id "
    "WHERE p.room = ? AND p.seq > ? AND p.seq < ? ORDER BY p.seq {order} LIMIT ?"
)


class LogReader:
    """Reads the log through an index in a separate file, which is built in bulk up to a watermark."""

    def __init__(self, path: Path, epoch: str) -> None:
        self._path = path
        self._epoch = epoch
        self._lock = threading.Lock()
        self._maintenances = 0
        self._pruned_upto = ""  # id of the session up to which refs were pruned
        self._index_rebuilt = False  # the index was found damaged and rebuilt: at most once a run
        self._connection, self._watermark = self._open_connection()
        try:
            self._checkpoint_connection = connect(path, full_sync=False)
        except BaseException:
            self._connection.close()
            raise

    def heads(self, rooms: Sequence[int], last_id: int) -> dict[int, int]:
        """Return the last seq by room id, 0 without messages, in a log that ends at `last_id`."""
        with self._lock:
            try:
                self._update_index(last_id)
            except sqlite3.OperationalError:
                # A full disk must not prevent a start: rows that are not indexed are searched in the log
                # itself, and maintenance reports the error.
                self._watermark = self._stored_watermark()
            try:
                return self._read_heads(rooms)
            except sqlite3.DatabaseError as error:
                self._rebuild_index(error)
                return self._read_heads(rooms)

    def _read_heads(self, rooms: Sequence[int]) -> dict[int, int]:
        query = "SELECT room, max(seq) FROM log.log WHERE id > ? GROUP BY room"
        newest: dict[int, int] = dict(self._connection.execute(query, (self._watermark,)).fetchall())
        heads = {}
        for room in rooms:
            (indexed,) = self._connection.execute(
                "SELECT max(seq) FROM place WHERE room = ?", (room,)
            ).fetchone()
            heads[room] = max(indexed or 0, newest.get(room, 0))
        return heads

    def last_rows(self, rooms: Sequence[int]) -> dict[int, int]:
        """Return the id of the last row by room id, 0 without messages."""
        query = "SELECT room, max(id) FROM log.log WHERE id > ? GROUP BY room"
        with self._lock:
            newest: dict[int, int] = dict(self._connection.execute(query, (self._watermark,)).fetchall())
            found = {}
            for room in rooms:
                row = self._connection.execute(
                    "SELECT id FROM place WHERE room = ? ORDER BY seq DESC LIMIT 1", (room,)
                ).fetchone()
                found[room] = newest.get(room) or (row[0] if row else 0)
            return found

    def _stored_watermark(self) -> int:
        (watermark,) = self._connection.execute("SELECT id FROM watermark").fetchone()
        return int(watermark)

    def read(
        self, room: int, name: str, after: int, before: int, limit: int, newest: bool, size: int, last_id: int
    ) -> list[MessageEvent]:
        """Return up to `limit` messages with after < seq < before, ascending; for `size` see `Log.read`."""
        query = _READ.format(order="DESC" if newest else "ASC")
        with self._lock:
            rows = self._with_index(
                last_id, lambda: self._fetch_rows(query, (room, after, before, limit), size)
            )
        return [from_row(row, name) for row in (reversed(rows) if newest else rows)]

    def _fetch_rows(self, query: str, wanted: tuple[int, ...], size: int) -> list[Row]:
        with contextlib.closing(self._connection.execute(query, wanted)) as cursor:
            if size >= UNBOUNDED_BYTES:
                return cursor.fetchall()
            rows: list[Row] = []
            for row in cursor:
                rows.append(row)
                size -= text_bytes(row)
                if size < 0:
                    break
            return rows

    def refs(self, session: str, limit: int, last_id: int) -> dict[int, StoredAt]:
        """Return a session's last refs, oldest first, each with the id of its log row."""
        with self._lock:
            return self._with_index(last_id, lambda: refs.newest(self._connection, session, limit))

    def conversation(self, key: str, last_id: int) -> StoredRoom | None:
        """Return the conversation of that folded name with its head, None if there is none."""

        def find() -> StoredRoom | None:
            row = self._connection.execute(
                "SELECT id, name, low, high, trimmed, (SELECT max(seq) FROM place WHERE room = rooms.id) "
                "FROM log.rooms WHERE key = ? AND low IS NOT NULL",
                (key,),
            ).fetchone()
            if row is None:
                return None
            room, name, low, high, trimmed, last = row
            return StoredRoom(room, name, key, (low, high), max(last or 0, trimmed), trimmed)

        with self._lock:
            return self._with_index(last_id, find)

    def surplus_by_age(self, before: float, last_id: int) -> list[retention.SurplusMessage]:
        """Return messages older than `before` (s since 1970), at most one step of them."""
        with self._lock:
            return self._with_index(
                last_id, lambda: retention.surplus_by_age(self._connection, before, last_id)
            )

    def surplus_by_count(self, rooms: range, keep: int, last_id: int) -> list[retention.SurplusMessage]:
        """Return messages of these rooms that have `keep` newer ones, at most one step of them."""
        with self._lock:
            return self._with_index(
                last_id, lambda: retention.surplus_by_count(self._connection, rooms, keep, last_id)
            )

    def surplus_hidden(
        self, rooms: dict[int, int], last_id: int
    ) -> tuple[list[retention.SurplusMessage], list[int]]:
        """Return hidden messages, at most one step of them, and the rooms that have none; seqs by room id."""
        with self._lock:
            return self._with_index(
                last_id, lambda: retention.surplus_hidden(self._connection, rooms, last_id)
            )

    def unindex(self, trimmed: dict[int, int], last_id: int) -> None:
        """Delete the index entries of messages deleted from the log: up to a seq by room id."""
        with self._lock:
            self._with_index(last_id, lambda: retention.delete_places(self._connection, trimmed))

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Return the message of a log row, None if it does not exist."""
        with self._lock:
            row = self._connection.execute(
                f"SELECT {COLUMNS} FROM log.log WHERE id = ?",  # noqa: S608  column names only
                (stored_at,),
            ).fetchone()
            if row is None:
                return None
            room = self._connection.execute(
                "SELECT name FROM log.rooms WHERE id = ? AND hidden < ?", row[1:3]
            ).fetchone()
        return None if room is None else from_row(row, room[0])  # None: its room has ended

    def maintain(self, last_id: int, truncate: bool) -> int:
        """Checkpoint log and index and update the index; return the bytes of the log's write-ahead log.

        The log is checkpointed first: durability must not depend on the index.
        """
        with self._lock:
            how = "TRUNCATE" if truncate else "PASSIVE"
            self._checkpoint_connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
            self._update_index(last_id)
            self._maintenances += 1
            if self._maintenances % MAINTENANCES_PER_PRUNE == 0:
                self._pruned_upto = self._with_index(
                    last_id, lambda: refs.prune(self._connection, self._pruned_upto)
                )
            self._connection.execute(f"PRAGMA main.wal_checkpoint({how})").fetchall()
            return self._wal_bytes()

    def close(self, last_id: int) -> None:
        """Update the index if possible, and close; the next start indexes what is missing."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._update_index(last_id)
                self._connection.execute("PRAGMA main.wal_checkpoint(TRUNCATE)").fetchall()
            self._connection.close()
            self._checkpoint_connection.close()

    def _open_connection(self) -> tuple[sqlite3.Connection, int]:
        """Open the index with the log attached; return the connection and the watermark."""
        path = self._path
        connection, watermark = _open_or_rebuild_index(path.with_name(path.name + "-index"), self._epoch)
        try:
            # Read-only, so that no transaction of the index ever takes the log's write lock.
            connection.execute("ATTACH ? AS log", (f"{path.absolute().as_uri()}?mode=ro",))
            connection.execute(f"PRAGMA log.cache_size = -{READ_CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection, watermark

    def _rebuild_index(self, error: sqlite3.DatabaseError) -> None:
        """Rebuild the index from the log if `error` means that it is damaged, else raise `error`."""
        if type(error) is not sqlite3.DatabaseError or self._index_rebuilt:
            raise error  # a lock, the disk, or the log itself: a new index would not help
        self._index_rebuilt = True
        self._connection.close()
        _remove_database(self._path.with_name(self._path.name + "-index"))
        self._connection, self._watermark = self._open_connection()

    def _with_index(self, last_id: int, work: Callable[[], T]) -> T:
        """Update the index and run `work`; if the index is damaged, rebuild it and run `work` again."""
        self._update_index(last_id)
        try:
            return work()
        except sqlite3.DatabaseError as error:
            self._rebuild_index(error)
            self._update_index(last_id)
            return work()

    def _update_index(self, last_id: int) -> None:
        try:
            self._index_rows(last_id)
        except sqlite3.DatabaseError as error:
            self._rebuild_index(error)
            self._index_rows(last_id)

    def _index_rows(self, last_id: int) -> None:
        while self._watermark < last_id:
            upper = min(self._watermark + INDEX_STEP_ROWS, last_id)
            connection = self._connection
            with transaction(connection):
                connection.execute(
                    "INSERT INTO place SELECT room, seq, id FROM log.log "
                    "WHERE id > ? AND id <= ? ORDER BY room, seq",
                    (self._watermark, upper),
                )
                refs.index_refs(connection, self._watermark, upper)
                connection.execute("UPDATE watermark SET id = ?", (upper,))
            self._watermark = upper

    def _wal_bytes(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0


class _IndexIncomplete(Exception):  # noqa: N818  a state of the file
    """The index is of an earlier version, and lacks entries of earlier log rows."""


def _open_or_rebuild_index(path: Path, epoch: str) -> tuple[sqlite3.Connection, int]:
    """Open the index; rebuild one that cannot be read, since it can be derived from the log."""
    try:
        return _open_index_of_epoch(path, epoch)
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # its own errors have none
        if code != sqlite3.SQLITE_ERROR:  # a lock, or the disk: a new index would not help
            raise
    except (
        sqlite3.DatabaseError,
        SchemaTooNew,
        _IndexIncomplete,
        TypeError,
    ):  # damaged, of another version, or empty
        pass
    _remove_database(path)
    return _open_index_of_epoch(path, epoch)


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _open_index_of_epoch(path: Path, epoch: str) -> tuple[sqlite3.Connection, int]:
    """Open the index, return it with its watermark; empty it if it belongs to another epoch of the log."""
    connection = connect(path, full_sync=False)
    try:
        _check_complete(connection)
        migrate(connection, PLACE_MIGRATIONS, str(path))
        watermark, known = connection.execute("SELECT id, epoch FROM watermark").fetchone()
        if known != epoch:
            watermark = 0
            with transaction(connection):
                connection.execute("DELETE FROM place")
                connection.execute("DELETE FROM refs")
                connection.execute("UPDATE watermark SET id = 0")
            connection.execute("UPDATE watermark SET epoch = ?", (epoch,))
    except BaseException:
        connection.close()
        raise
    return connection, int(watermark)


def _check_complete(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if 0 < version < len(PLACE_MIGRATIONS):
        raise _IndexIncomplete
