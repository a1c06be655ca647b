"""The index of the log: where each message is, in a file that is derived from the log and never believed.

It is built in bulk up to a watermark. A digest of all entries shows at the next start whether one was lost or
changed; each entry that is used is compared with the row of the log that it leads to (sqlite/reader.py). An
entry that is wrong or missing is searched for in the log, between its neighbours. An index that cannot be
used at all is built again: at once if that takes less than a second or so, else by a thread of its own
(sqlite/index_build.py), and until then what is not in memory cannot be read.

For several threads: a lock allows one change at a time. Nobody MAY hold it for longer than one short step.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.engine import IndexRebuilt
from chat_server.engines.sqlite import refs
from chat_server.engines.sqlite.connect import connect, connect_index, transaction
from chat_server.engines.sqlite.damage import LogScan, is_at, is_bad_content, is_corruption
from chat_server.engines.sqlite.index_build import (
    DIGEST,
    UNFINISHED_DIGEST,
    UNKNOWN_DIGEST,
    IndexBuilder,
    sealed,
)
from chat_server.engines.sqlite.schema import PLACE_MIGRATIONS, SchemaTooNew, migrate
from chat_server.engines.sqlite.wal.guard import WalCut, WalGuard

INDEX_STEP_ROWS: Final = 20_000
"""Rows indexed in one transaction: enough to be cheap, few enough to let others change it in between."""

BUILD_IN_THREAD_ROWS: Final = 300_000
"""Rows to index above which a thread does it: about a second of work."""

REBUILD_INTERVAL_S: Final = 600.0
"""Minimum of seconds between two rebuilds of a damaged index: damage again is a failing disk."""

_NEIGHBOURS: Final = 64
"""Entries that are looked at for one that is right, on each side of a wrong one."""

T = TypeVar("T")


class Index:
    """The index of one data file: its writing connection, its watermark, and its upkeep."""

    def __init__(self, path: Path, epoch: str, last_id: int) -> None:
        """Open the index of the log at `path` that ends at `last_id`. Raises `sqlite3.Error`."""
        self._log_path = path
        self.path: Final = path.with_name(path.name + "-index")
        self._epoch = epoch
        self._wal = WalGuard(self.path)
        self._lock = threading.RLock()
        self._checkpoint_lock = threading.Lock()  # taken after the other one, if both are
        self._closed = False
        self.is_suspect = False  # whether a reader that must not wait has found it damaged
        self.generation = 0  # of the file: readers open it again when this has changed
        self.watermark = 0
        self.on_replacing: Callable[[], None] = lambda: None  # before and after the file is made again
        self.on_replaced: Callable[[], None] = lambda: None
        self._rebuilt_at: float | None = None  # monotonic, of the last rebuild of a damaged index
        self.builder: IndexBuilder | None = None  # while a thread builds the index
        self._notices: list[IndexRebuilt] = []
        self._pruned_upto = ""  # id of the session up to which refs were pruned
        reason = "" if self.path.exists() and self.path.stat().st_size else "missing"
        try:
            self._connection = self._open(last_id)
        except _Unusable as error:
            reason = str(error)
            self._remove_files()
            self._connection = self._open(last_id)
        try:
            self._scan = LogScan(self._connection)
            self._checkpoints = connect(self.path, full_sync=False)
            self._begin(reason, last_id)
        except BaseException:
            self._connection.close()
            raise

    def _begin(self, reason: str, last_id: int) -> None:
        """Have a thread index the rows if they are many. `reason`: why the file is new, else empty."""
        backlog = last_id - max(self.watermark, self._scan.first_id() - 1)
        if backlog > BUILD_IN_THREAD_ROWS:
            if self.watermark:
                self._replace_file(last_id)
            self._build_in_thread(reason or "outdated", last_id)
        elif reason and last_id:
            self._notices.append(IndexRebuilt(reason, backlog, 0.0))

    @property
    def building(self) -> bool:
        """Return whether a thread builds the index: it can be neither read nor changed."""
        return self.builder is not None

    @property
    def skipped_rows(self) -> int:
        """Rows of the log that could not be indexed, because their pages cannot be read."""
        return self._scan.skipped_rows

    def take_notices(self) -> list[IndexRebuilt]:
        """Return the rebuilds since the last call."""
        found, self._notices = self._notices, []
        return found

    # Indexing

    def update(self, last_id: int) -> None:
        """Index all rows up to `last_id`. Raises `sqlite3.Error`, or `StoreUnavailable` while it is built."""
        if self.is_suspect:
            self.is_suspect = False
            self.discard(last_id)
        while self.watermark < last_id:
            with self._lock:
                self._check_usable()
                try:
                    self._index_step(last_id)
                except sqlite3.DatabaseError as error:
                    self.rebuild(error, last_id)

    def _index_step(self, last_id: int) -> None:
        lower, upper = self.watermark, min(self.watermark + INDEX_STEP_ROWS, last_id)
        try:
            self._index_parts([(lower, upper)], upper)
        except sqlite3.DatabaseError as error:
            parts = self._scan.readable(lower, upper) if is_corruption(error) else [(lower, upper)]
            if parts == [(lower, upper)]:
                raise  # it is not the log
            self._index_parts(parts, upper)
        self.watermark = upper

    def _index_parts(self, parts: list[tuple[int, int]], upper: int) -> None:
        """Index parts of the log, in one transaction, and set the watermark to `upper`."""
        connection = self._connection
        with transaction(connection):
            for part in parts:
                self._insert_places(*part)
                refs.index_refs(connection, *part)
            # An unknown one shows the next start, too, that rows were skipped.
            whole = self._scan.skipped_rows == 0
            digest = self._next_digest(*parts[0]) if whole else UNKNOWN_DIGEST
            connection.execute("UPDATE watermark SET id = ?, digest = ?", (upper, digest))

    def _insert_places(self, lower: int, upper: int) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO place SELECT room, seq, id FROM log.log WHERE id > ? AND id <= ? "
            "ORDER BY room, seq",
            (lower, upper),
        )

    def _next_digest(self, lower: int, upper: int) -> int:
        """Return the digest for the watermark `upper`, with the rows above `lower`."""
        query = f"SELECT {DIGEST} FROM log.log WHERE id > ? AND id <= ?"  # noqa: S608  a constant
        (added,) = self._connection.execute(query, (lower, upper)).fetchone()
        return self._changed_digest(lower, added or 0, upper)

    def _changed_digest(self, old_watermark: int, added: int, watermark: int) -> int:
        (digest,) = self._connection.execute("SELECT digest FROM watermark").fetchone()
        if digest == UNKNOWN_DIGEST:
            return UNKNOWN_DIGEST
        return sealed(sealed(digest, -old_watermark) + added, watermark)

    # Damage

    def rebuild(self, error: sqlite3.DatabaseError, last_id: int) -> None:
        """Build the index again if `error` means that it is damaged, else raise `error`.

        Not soon after another rebuild: then the disk is failing, and `error` is raised as well.
        """
        if not is_bad_content(error) or not self.discard(last_id):
            raise error  # a lock, or a full disk: a new index would not help

    def discard(self, last_id: int) -> bool:
        """Build the index again, because it is damaged; return False, without it, soon after the last one."""
        with self._lock:
            now = time.monotonic()
            if self._rebuilt_at is not None and now - self._rebuilt_at < REBUILD_INTERVAL_S:
                return False
            self._rebuilt_at = now
            self._replace_file(last_id)
            self._begin("damaged", last_id)
            return True

    def repair(self, room: int, first: int, last: int, last_id: int) -> None:
        """Search the log for a room's messages from `first` to `last`, and index those that are there.

        The search is between the nearest entries that are right, since a room's seqs ascend with the ids.
        """
        lower = self._neighbour("seq < ? ORDER BY seq DESC", room, first) or 0
        upper = self._neighbour("seq > ? ORDER BY seq", room, last) or last_id + 1
        while lower < upper - 1:
            end = min(lower + INDEX_STEP_ROWS, upper - 1)
            with self._lock:
                self._check_usable()
                for part in LogScan(self._connection).readable(lower, end):
                    self._reindex(room, first, last, *part)
            lower = end

    def _reindex(self, room: int, first: int, last: int, lower: int, upper: int) -> None:
        with transaction(self._connection):
            changed = self._connection.execute(
                "INSERT OR REPLACE INTO place SELECT room, seq, id FROM log.log "
                "WHERE id > ? AND id <= ? AND room = ? AND seq >= ? AND seq <= ?",
                (lower, upper, room, first, last),
            ).rowcount
            if changed:
                self._connection.execute("UPDATE watermark SET digest = ?", (UNKNOWN_DIGEST,))

    def _neighbour(self, which: str, room: int, seq: int) -> int | None:
        """Return the log id of the nearest entry that the log confirms."""
        with self._lock:
            entries = self._connection.execute(
                f"SELECT seq, id FROM place WHERE room = ? AND {which} LIMIT {_NEIGHBOURS}",  # noqa: S608
                (room, seq),
            ).fetchall()
            for found, row in entries:
                if is_at(self._connection, row, room, found):
                    return int(row)
        return None

    # The rest of the upkeep

    def use(self, work: Callable[[sqlite3.Connection], T], last_id: int) -> T:
        """Update the index, and run `work` with the writing connection; once more if it had to be rebuilt."""
        for attempt in (1, 2):
            self.update(last_id)
            with self._lock:
                self._check_usable()
                try:
                    return work(self._connection)
                except sqlite3.DatabaseError as error:
                    if attempt == 2:
                        raise
                    self.rebuild(error, last_id)
        raise AssertionError

    def delete_places(self, trimmed: dict[int, int], last_id: int) -> None:
        """Delete the entries of messages that were deleted from the log: up to a seq by room id."""

        def delete(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                removed = 0
                for place in trimmed.items():
                    query = f"SELECT {DIGEST} FROM place WHERE room = ? AND seq <= ?"  # noqa: S608  a constant
                    removed += connection.execute(query, place).fetchone()[0] or 0
                    connection.execute("DELETE FROM place WHERE room = ? AND seq <= ?", place)
                digest = self._changed_digest(self.watermark, -removed, self.watermark)
                connection.execute("UPDATE watermark SET digest = ?", (digest,))

        self.use(delete, last_id)

    def prune_refs(self, last_id: int) -> None:
        """Delete a bounded number of refs that are not needed any more."""
        self._pruned_upto = self.use(lambda connection: refs.prune(connection, self._pruned_upto), last_id)

    def checkpoint(self, how: str) -> None:
        """Checkpoint the index's write-ahead log. May take long; reads and changes go on meanwhile."""
        with self._checkpoint_lock:
            try:
                self._wal.checkpoint(self._checkpoints, how)
            except WalCut:
                self.is_suspect = True  # the next update makes the file again

    def adopt_epoch(self, epoch: str) -> None:
        """Note that the log has a new epoch, with the same rows."""
        self._epoch = epoch
        with self._lock:
            self._connection.execute("UPDATE watermark SET epoch = ?", (epoch,))

    def close(self, last_id: int) -> None:
        """Update the index if possible, and close; the next start indexes what is missing. Repeatable."""
        if self._closed:
            return
        self._closed = True
        if self.builder is not None:
            self.builder.stop()
        with self._lock:
            if not self.building:
                with contextlib.suppress(sqlite3.Error, StoreUnavailable):
                    self.update(last_id)
                    self._wal.checkpoint(self._connection, "TRUNCATE")
            self._checkpoints.close()
            self._connection.close()
            self._wal.close()

    # The file

    def _check_usable(self) -> None:
        """Raise `StoreUnavailable` while a thread builds the index; start it again if it has failed."""
        builder = self.builder
        if builder is None:
            return
        failure = builder.failure
        if failure is None:
            raise StoreUnavailable(f"the index of messages is being built ({builder.progress()}): try again")
        if builder.is_retry_due():
            self._replace_file(builder.last_id)
            self._build_in_thread(builder.reason, builder.last_id, builder.known_heads)
        raise StoreUnavailable(f"the index of messages could not be built: {failure}")

    def _build_in_thread(self, reason: str, last_id: int, known_heads: dict[int, int] | None = None) -> None:
        if known_heads is None:
            known_heads = heads_of(self._scan, self._connection, 0, last_id)
        self.builder = IndexBuilder(self.path, self._log_path, reason, last_id, known_heads, self._end_build)
        self.builder.start()

    def _end_build(self, builder: IndexBuilder) -> None:
        """Use the index from now on. Called by the thread that has built it."""
        with self._lock:
            self.watermark = builder.last_id
            self._scan.skipped_rows += builder.skipped_rows
            self._notices.append(IndexRebuilt(builder.reason, builder.last_id, builder.duration_s))
            self.builder = None

    def _open(self, last_id: int) -> sqlite3.Connection:
        """Open the file, or make it. Raises `_Unusable` if it cannot be used."""
        try:
            connection = connect_index(self.path, self._log_path)
        except sqlite3.DatabaseError as error:
            if is_bad_content(error):
                raise _Unusable("damaged") from error
            raise
        try:
            self.watermark = self._prepare(connection, last_id)
        except BaseException as error:
            connection.close()
            if isinstance(error, SchemaTooNew):
                raise _Unusable("outdated") from error
            if isinstance(error, sqlite3.DatabaseError) and is_bad_content(error):
                raise _Unusable(str(error) if isinstance(error, _Unusable) else "damaged") from error
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, last_id: int) -> int:
        """Check and migrate the file; return its watermark."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version < len(PLACE_MIGRATIONS) and (version or tables):
            raise _Unusable("outdated")  # it lacks what later versions derive from earlier rows
        migrate(connection, PLACE_MIGRATIONS, str(self.path))
        if not version:
            connection.execute("UPDATE watermark SET epoch = ?", (self._epoch,))
        rows = connection.execute("SELECT id, epoch, digest FROM watermark").fetchall()
        if len(rows) != 1:
            raise _Unusable("damaged")
        watermark, epoch, digest = rows[0]
        if not (isinstance(watermark, int) and isinstance(digest, int)):
            raise _Unusable("damaged")
        if epoch != self._epoch:
            raise _Unusable("foreign")
        if digest in (UNKNOWN_DIGEST, UNFINISHED_DIGEST):
            raise _Unusable("unfinished" if digest == UNFINISHED_DIGEST else "repaired")
        (found,) = connection.execute(f"SELECT {DIGEST} FROM place").fetchone()  # noqa: S608  a constant
        if watermark > last_id or sealed(found or 0, watermark) != digest:
            raise _Unusable("damaged")
        return int(watermark)

    def _replace_file(self, last_id: int) -> None:
        self.on_replacing()
        with self._checkpoint_lock:
            self._connection.close()
            self._checkpoints.close()
            self._wal.close()
            self._remove_files()
            self._connection = self._open(last_id)
            self._scan = LogScan(self._connection)
            self._checkpoints = connect(self.path, full_sync=False)
        self.generation += 1
        self.on_replaced()

    def _remove_files(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class _Unusable(sqlite3.DatabaseError):
    """The index cannot be used; the text is the reason of `IndexRebuilt`."""


def heads_of(scan: LogScan, connection: sqlite3.Connection, after: int, last_id: int) -> dict[int, int]:
    """Return the last seq of each room in the rows of the attached log with after < id <= last_id."""
    heads: dict[int, int] = {}
    query = "SELECT room, max(seq) FROM log.log WHERE id > ? AND id <= ? GROUP BY room"
    while after < last_id:
        upper = min(after + INDEX_STEP_ROWS, last_id)
        try:
            found = connection.execute(query, (after, upper)).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            found = [row for part in scan.readable(after, upper) for row in connection.execute(query, part)]
        for room, seq in found:
            heads[room] = max(seq, heads.get(room, 0))
        after = upper
    return heads
