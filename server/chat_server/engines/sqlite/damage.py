"""What of the log cannot be read any more, as far as this run has found out. For several threads."""

import sqlite3
import threading
from bisect import bisect_left, insort
from typing import Final

from chat_server.engines.engine import Unreadable

MAX_RANGES: Final = 10_000
"""Ranges that are remembered. Further ones are searched for in the log again and again, and not reported."""

MAX_SKIPPED_ROWS: Final = 10_000
"""Rows of the log that may be skipped because their pages cannot be read; with more, it is not usable."""

_CORRUPT: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_corruption(error: sqlite3.Error) -> bool:
    """Return whether an error means that a file is damaged, and not locked, full or unreachable."""
    code = getattr(error, "sqlite_errorcode", None)  # errors of the sqlite3 module itself have none
    return code is not None and (code & 0xFF in _CORRUPT or code == sqlite3.SQLITE_IOERR_SHORT_READ)


def is_bad_content(error: sqlite3.Error) -> bool:
    """Return whether an error means a damaged file, or a value or table that cannot be as it is."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return is_corruption(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)


def is_at(
    connection: sqlite3.Connection, number: object, room: int, seq: int, *, if_unreadable: bool = False
) -> bool:
    """Return whether the row `number` of the attached log has this room and seq, or cannot be read."""
    try:
        found = connection.execute("SELECT room, seq FROM log.log WHERE id = ?", (number,)).fetchone()
    except sqlite3.DatabaseError as error:
        if not is_bad_content(error):
            raise
        return if_unreadable
    position: object = found
    return position == (room, seq)


class LogScan:
    """Finds the ranges of ids of the attached log that can be read, around pages that cannot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.skipped_rows = 0

    def readable(self, lower: int, upper: int) -> list[tuple[int, int]]:
        """Return (lower, upper) itself, or its parts: ids with lower < id <= upper.

        A range that cannot be read is halved, and so on, down to the rows. Raises `sqlite3.DatabaseError` if
        they are too many.
        """
        if self._is_readable(lower, upper):
            return [(lower, upper)]
        if upper - lower > 1:
            middle = (lower + upper) // 2
            return [*self.readable(lower, middle), *self.readable(middle, upper)]
        self.skipped_rows += 1
        if self.skipped_rows > MAX_SKIPPED_ROWS:
            raise sqlite3.DatabaseError("too many pages of the log are malformed")
        return []

    def first_id(self) -> int:
        """Return the id of the first row, 1 without rows, or if its page cannot be read."""
        try:
            (first,) = self._connection.execute("SELECT min(id) FROM log.log").fetchone()
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            return 1
        return first or 1

    def _is_readable(self, lower: int, upper: int) -> bool:
        query = (
            "SELECT max(room + seq), max(length(session) + length(ref)) FROM log.log WHERE id > ? AND id <= ?"
        )
        try:
            self._connection.execute(query, (lower, upper)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            return False
        return True


class UnreadableRows:
    """Ranges of seqs by room, which are missing in the log although they were written, or are damaged."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ranges: dict[int, list[tuple[int, int]]] = {}  # by room id, ascending, disjoint
        self._count = 0
        self._notes: set[str] = set()  # what else was found
        self._new: list[Unreadable] = []
        self.messages = 0
        """Number of messages in all ranges."""

    def add(self, room: int, name: str, first: int, last: int, error: str) -> None:
        """Note that the messages from `first` to `last` cannot be read; once for each of them."""
        with self._lock:
            for begin, end in self._parts_not_in(room, first, last):
                if self._count >= MAX_RANGES:
                    return
                self._count += 1
                self.messages += end - begin + 1
                insort(self._ranges.setdefault(room, []), (begin, end))
                self._new.append(Unreadable(name, begin, end, error))

    def add_row(self, number: object, error: str) -> None:
        """Note that the row of the log with this id cannot be read; its room and seq are not known."""
        if isinstance(number, int):
            self.add(0, "", number, number, f"row {number}: {error}")

    def note(self, what: str) -> None:
        """Note that something else than a message is damaged; once for each sentence."""
        with self._lock:
            if what not in self._notes and len(self._notes) < MAX_RANGES:
                self._notes.add(what)
                self._new.append(Unreadable("", 0, 0, what))

    def parts_not_in(self, room: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return the parts of a range of seqs that are not known to be unreadable."""
        with self._lock:
            return self._parts_not_in(room, first, last)

    def take_new(self) -> list[Unreadable]:
        """Return what was found since the last call."""
        if not self._new:
            return []
        with self._lock:
            found, self._new = self._new, []
        return found

    def _parts_not_in(self, room: int, first: int, last: int) -> list[tuple[int, int]]:
        ranges = self._ranges.get(room, [])
        parts = []
        index = max(0, bisect_left(ranges, (first, 0)) - 1)
        while first <= last and index < len(ranges):
            begin, end = ranges[index]
            if begin > last:
                break
            if first < begin:
                parts.append((first, begin - 1))
            first = max(first, end + 1)
            index += 1
        if first <= last:
            parts.append((first, last))
        return parts
