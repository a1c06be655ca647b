"""Builds the index of a long log in a thread, in a time that is linear in the number of rows.

In the order of the log, each entry would go to another place of the index, which is sorted by room and seq:
the larger it is, the more of its pages each step rewrites. So the entries are first written as sorted runs to
a file of their own, one run for each part of the log; then room by room from all runs to the index, whose end
only grows. Each step is short, and the thread pauses between them. Until the end nobody else changes the
index.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from chat_server.engines.sqlite import refs
from chat_server.engines.sqlite.connect import connect_index, transaction
from chat_server.engines.sqlite.damage import LogScan

RUN_ROWS: Final = 200_000
"""Rows of the log in one run: they are sorted in memory, some 15 MB."""

MERGE_ROWS: Final = 200_000
"""Entries of neighbouring rooms that are merged in one step."""

PAUSE_S: Final = 0.005
"""Seconds between two steps."""

DIGEST: Final = (
    "sum(((room * 1000003 + seq * 8191 + id * 31) & 4294967295) "
    "+ (((room * 1000003 + seq * 8191 + id * 31) >> 32) & 4294967295))"
)
"""Digest of entries: a sum, so that it can be kept up when entries are added or deleted."""

_RUNS: Final = "CREATE TABLE runs.run (part, room, seq, id, PRIMARY KEY (part, room, seq)) WITHOUT ROWID"


UNKNOWN_DIGEST: Final = -1
"""Stored instead when entries were repaired, or rows skipped: the next start builds the index again."""

UNFINISHED_DIGEST: Final = -2
"""Stored while it is being built."""

RETRY_INTERVAL_S: Final = 10.0
"""Seconds after which a build that has failed is tried again."""


def sealed(digest: int, watermark: int) -> int:
    """Return the digest of the entries and the watermark."""
    return digest + 97 * watermark


class IndexBuilder:
    """One build of the index from the rows of the log with ids up to `last_id`.

    `known_heads`: last seqs by room id, which cannot be looked up meanwhile; released rooms add theirs.
    `on_built` is called by the thread at the end, unless it has failed: then `failure` says why.
    """

    def __init__(
        self,
        path: Path,
        log: Path,
        reason: str,
        last_id: int,
        known_heads: dict[int, int],
        on_built: Callable[["IndexBuilder"], None],
    ) -> None:
        self._path = path
        self._runs_path = path.with_name(path.name + "-build")
        self._log = log
        self._on_built = on_built
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index build", daemon=True)
        self._counts: dict[int, int] = {}  # entries by room id
        self._done_rows = 0  # each row counts twice: in its run, and in the index
        self.reason = reason
        self.known_heads = known_heads
        self.last_id = last_id
        self.skipped_rows = 0
        self.duration_s = 0.0
        self.failure: Exception | None = None
        self._failed_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, whether it has finished or not; may take as long as one step."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def is_retry_due(self) -> bool:
        """Return whether it has failed a while ago."""
        return self.failure is not None and time.monotonic() - self._failed_at > RETRY_INTERVAL_S

    def progress(self) -> str:
        """Return how far it is."""
        return f"{50 * self._done_rows // max(self.last_id, 1)} %"

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._runs_path.unlink(missing_ok=True)
            try:
                with closing(connect_index(self._path, self._log)) as connection:
                    for _ in self._steps(connection):
                        if self._stopped.wait(PAUSE_S):
                            return
            finally:
                self._runs_path.unlink(missing_ok=True)
        except (sqlite3.Error, OSError) as error:
            self._failed_at = time.monotonic()
            self.failure = error
            return
        self.duration_s = round(time.monotonic() - started, 3)
        self._on_built(self)

    def _steps(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("ATTACH ? AS runs", (str(self._runs_path),))
        connection.execute("PRAGMA runs.journal_mode = OFF")
        connection.execute("PRAGMA runs.synchronous = OFF")
        connection.execute(_RUNS)
        connection.execute("UPDATE watermark SET digest = ?", (UNFINISHED_DIGEST,))
        parts = 0
        for part in self._write_runs(connection):
            parts = part + 1
            yield
        digest = 0
        for rooms in self._room_ranges():
            for added in self._merge(connection, rooms, parts):
                digest += added
                yield
        connection.execute("DETACH runs")
        with transaction(connection):
            connection.execute(
                "UPDATE watermark SET id = ?, digest = ?",
                (self.last_id, UNKNOWN_DIGEST if self.skipped_rows else sealed(digest, self.last_id)),
            )

    def _write_runs(self, connection: sqlite3.Connection) -> Iterator[int]:
        """Write the entries as sorted runs, and the refs; yields the number of each run."""
        scan = LogScan(connection)
        lower = scan.first_id() - 1
        number = 0
        while lower < self.last_id:
            upper = min(lower + RUN_ROWS, self.last_id)

            parts = scan.readable(lower, upper)
            for low, high in parts:
                connection.execute(
                    "INSERT OR IGNORE INTO runs.run SELECT ?, room, seq, id FROM log.log "
                    "WHERE id > ? AND id <= ? ORDER BY room, seq",
                    (number, low, high),
                )
            with transaction(connection):
                for part in parts:
                    refs.index_refs(connection, *part)
            query = "SELECT room, count(*) FROM runs.run WHERE part = ? GROUP BY room"
            for room, count in connection.execute(query, (number,)).fetchall():
                self._counts[room] = self._counts.get(room, 0) + count
            self.skipped_rows = scan.skipped_rows
            self._done_rows += upper - lower
            lower = upper
            yield number
            number += 1

    def _room_ranges(self) -> Iterator[tuple[int, int]]:
        """Return first and last ids of rooms that have at most `MERGE_ROWS` entries together, or of one."""
        first = last = None
        total = 0
        for room in sorted(self._counts):
            count = self._counts[room]
            if first is not None and last is not None and total + count > MERGE_ROWS:
                yield first, last
                first, total = None, 0
            first = room if first is None else first
            last = room
            total += count
        if first is not None and last is not None:
            yield first, last

    def _merge(self, connection: sqlite3.Connection, rooms: tuple[int, int], parts: int) -> Iterator[int]:
        """Add the entries of a range of rooms to the index; yields their digests."""
        first, last = rooms
        part = 0
        while part < parts:
            added = 0
            with transaction(connection):
                while part < parts and added < MERGE_ROWS:
                    added += connection.execute(
                        "INSERT OR IGNORE INTO main.place SELECT room, seq, id FROM runs.run "
                        "WHERE part = ? AND room >= ? AND room <= ? ORDER BY room, seq",
                        (part, first, last),
                    ).rowcount
                    part += 1
            self._done_rows += added
            yield 0
        query = f"SELECT {DIGEST} FROM main.place WHERE room >= ? AND room <= ?"  # noqa: S608  a constant
        (digest,) = connection.execute(query, (first, last)).fetchone()
        yield digest or 0
