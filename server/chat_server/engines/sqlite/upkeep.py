"""Upkeep of the data file: checkpoints, index, retention; and when nothing may be stored any more.

Its methods run in the event loop and may wait: the work is done in a native thread, except for deletions,
which are short and go through the appending connection.
"""

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.sqlite.connect import NotText, transaction
from chat_server.engines.sqlite.damage import is_corruption
from chat_server.engines.sqlite.files import LOOK_INTERVAL_S, FileWatch
from chat_server.engines.sqlite.index import Index
from chat_server.engines.sqlite.retention import SCAN_STEP_ROOMS, Retention, SurplusMessage
from chat_server.engines.sqlite.wal.guard import WalCut, WalGuard

MAX_WAL_BYTES: Final = 1024 * 1024 * 1024
"""Size of the write-ahead log above which nothing is stored: another program keeps reading the file."""

MAINTENANCES_PER_PRUNE: Final = 8
"""Maintenance runs (about one a second) per pruning of the refs."""

Offload = Callable[..., Any]
"""Runs a function in a native thread while the calling greenlet waits (gevent's ThreadPool.apply)."""

T = TypeVar("T")


def run_offloaded(offload: Offload, function: Callable[..., T], *args: Any) -> T:
    """Run a function in a native thread and return its result. Raises `StoreUnavailable`."""
    try:
        answer: T = offload(function, *args)
    except sqlite3.Error as error:
        raise StoreUnavailable(str(error)) from error
    return answer


def run_here(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in the calling thread."""
    return function(*args)


class WriteGate:
    """Whether anything may be stored: not if a file was changed by others, is damaged, or is too long."""

    def __init__(self, path: Path, watch: FileWatch, clock: Callable[[], float]) -> None:
        """Look at the files with `watch`; `clock` returns seconds since the epoch, as for messages."""
        self._path = path
        self._clock = clock
        self._broken = ""  # why nothing is stored any more until the next start
        self.watch = watch
        self.looked_at = self.look_due_at = 0.0
        """Outside of these times `check` has to be called before anything is stored; also after the clock was
        set back."""

    def check(self) -> None:
        """Look at the files. Raises `StoreUnavailable` if nothing may be stored."""
        wrong = self._broken or self.watch.look()
        if not wrong and self.watch.wal_bytes > MAX_WAL_BYTES:
            wrong = (
                f"{self._path}-wal has {self.watch.wal_bytes} bytes, because another program reads the data "
                "file and does not end: end that program"
            )
        if wrong:
            self.look_due_at = 0.0
            raise StoreUnavailable(wrong)
        self.looked_at = self._clock()
        self.look_due_at = self.looked_at + LOOK_INTERVAL_S

    def is_open(self) -> bool:
        """Return whether the files are as they should be."""
        return not (self._broken or self.watch.look())

    def stop(self, why: str) -> None:
        """Let nothing be stored until the next start."""
        self._broken, self.look_due_at = why, 0.0

    def write_failed(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreUnavailable:
        """Return what to raise for an error of a write; one that means damage lets nothing more be stored."""
        if isinstance(error, UnicodeDecodeError):
            error = NotText()
        if is_corruption(error):
            self.stop(f"{self._path} is damaged ({error}): restart the server, or restore a backup")
        return StoreUnavailable(self._broken or str(error))


class Upkeep:
    """What is due about once a second."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        gate: WriteGate,
        index: Index,
        retention: Retention,
        hidden: dict[int, int],
        wal: WalGuard,
        *,
        checkpoints: sqlite3.Connection,
        write_offload: Offload,
        offload: Offload,
    ) -> None:
        """Look after the files.

        `hidden`: by room id, the seq up to which messages can no longer be read, although the log may still
        have them. `connection` is the one that appends, `checkpoints` another one. `write_offload` runs
        what may wait for the disk with `--sync full`, `offload` everything else.
        """
        self._connection = connection
        self._gate = gate
        self._index = index
        self._retention = retention
        self._hidden = hidden
        self._wal = wal
        self._checkpoints = checkpoints
        self._write_offload = write_offload
        self._offload = offload
        self._deleted_unindexed: dict[int, int] = {}  # last deleted seq by room, still in the index
        self._next_trim_room = 1  # the room at which the next retention scan starts
        self._index_cleaned = False  # whether deletions of the last run have reached the index
        self._maintenances = 0

    def trim(self, keep: int, before: float, last_id: int, last_room_id: int) -> dict[int, int]:
        """Delete up to `retention.TRIM_STEP_MESSAGES` messages between commits; a thread finds them.

        The last row of the log is kept whatever its age: the next id and the tail guard depend on it. Nothing
        is deleted while the index is being built.
        """
        self._gate.check()
        if self._index.building:
            return {}
        found = self._find_surplus(keep, before, last_id, last_room_id)
        if found:
            # Ascending, so the last seq of a room remains.
            trimmed = {one.room: one.seq for one in found if one.room}
            self._delete_messages(found, trimmed)
            self._deleted_unindexed |= trimmed
        if self._deleted_unindexed:
            run_offloaded(self._offload, self._index.delete_places, self._deleted_unindexed, last_id)
        deleted, self._deleted_unindexed = self._deleted_unindexed, {}
        return deleted

    def _find_surplus(
        self, keep: int, before: float, last_id: int, last_room_id: int
    ) -> list[SurplusMessage]:
        """Return the messages to delete next; the scan starts at the room where it last found some."""
        offload, retention = self._offload, self._retention
        found = self._find_hidden(last_id)
        if not found and before:
            found = run_offloaded(offload, retention.surplus_by_age, before, last_id)
        if found or (self._index_cleaned and not keep):
            return found
        begin = self._next_trim_room
        for first in (
            *range(begin, last_room_id + 1, SCAN_STEP_ROOMS),
            *range(1, begin, SCAN_STEP_ROOMS),
        ):
            rooms = range(first, first + SCAN_STEP_ROOMS)
            found = run_offloaded(offload, retention.surplus_by_count, rooms, keep, last_id)
            if found:
                self._next_trim_room = first
                return found
        self._index_cleaned = True
        return found

    def _find_hidden(self, last_id: int) -> list[SurplusMessage]:
        """Return hidden messages; note the rooms that have none left."""
        found: list[SurplusMessage] = []
        while self._hidden:
            rooms = dict(itertools.islice(self._hidden.items(), SCAN_STEP_ROOMS))
            found, empty = run_offloaded(self._offload, self._retention.surplus_hidden, rooms, last_id)
            if found or not empty:
                break
            self._delete_messages([], {room: rooms[room] for room in empty})
            for room in empty:
                if self._hidden.get(room) == rooms[room]:  # else it has ended once more meanwhile
                    del self._hidden[room]
        return found

    def _delete_messages(self, found: list[SurplusMessage], trimmed: dict[int, int]) -> None:
        """Delete messages; `trimmed`: by room id, the seq up to which the log has none any more."""
        try:
            self._write_offload(self._delete, found, trimmed)
        except sqlite3.Error as error:
            if not is_corruption(error):
                raise StoreUnavailable(str(error)) from error
            # A damaged page of old messages must not stop new ones: it stays, and is not shown any more.
            run_offloaded(self._write_offload, self._delete_each, found, trimmed)

    def _delete(self, found: list[SurplusMessage], trimmed: dict[int, int]) -> None:
        with transaction(self._connection, "BEGIN IMMEDIATE"):
            self._connection.executemany("DELETE FROM log WHERE id = ?", [(one.id,) for one in found])
            self._connection.executemany(
                "UPDATE rooms SET trimmed = max(trimmed, ?) WHERE id = ?",
                [(seq, room) for room, seq in trimmed.items()],
            )

    def _delete_each(self, found: list[SurplusMessage], trimmed: dict[int, int]) -> None:
        for one in found:
            try:
                self._delete([one], {})
            except sqlite3.Error as error:
                if not is_corruption(error):
                    raise
        self._delete([], trimmed)

    def maintain(self, last_id: int, *, truncate: bool) -> int:
        """Checkpoint the write-ahead log and update the index; return the bytes of the write-ahead log.

        Called about once a second: its fsync bounds what a power loss can cost. The log comes first:
        durability must not depend on the index. `truncate` empties the write-ahead log; appends MUST pause
        meanwhile. May wait. Raises `StoreUnavailable`.
        """
        if not truncate:  # else a write-ahead log that is too long could never be emptied
            self._gate.check()
        how = "TRUNCATE" if truncate else "PASSIVE"
        self._gate.watch.begin_checkpoint()
        try:
            self._offload(self._checkpoint_log, how)
        except WalCut as error:
            self._gate.stop(str(error))
            raise StoreUnavailable(str(error)) from error
        except sqlite3.Error as error:
            raise self._gate.write_failed(error) from error
        except OSError as error:
            raise StoreUnavailable(f"cannot write the write-ahead log: {error.strerror}") from error
        finally:
            self._gate.watch.end_checkpoint(truncated=truncate)
        run_offloaded(self._offload, self._maintain_index, last_id, how)
        return self._gate.watch.wal_bytes

    def _checkpoint_log(self, how: str) -> None:
        self._wal.sync()
        self._wal.checkpoint(self._checkpoints, how)

    def _maintain_index(self, last_id: int, how: str) -> None:
        if not self._index.building:
            self._index.update(last_id)
            self._maintenances += 1
            if self._maintenances % MAINTENANCES_PER_PRUNE == 0:
                self._index.prune_refs(last_id)
        self._index.checkpoint(how)
