"""Deletes messages from the log in short steps: those over the retention limits, and those of ended rooms.

The reader thread finds them (retention.py), and the appending connection deletes them between commits.
"""

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from chat_server.engines.sqlite.connect import transaction
from chat_server.engines.sqlite.reader import LogReader
from chat_server.engines.sqlite.retention import SurplusMessage

SCAN_STEP_ROOMS: Final = 1000
"""Rooms scanned in one call, so that reads get in between."""

Run = Callable[..., Any]
"""Calls a function in a thread of its own, or directly. Raises `StoreUnavailable`."""


class Surplus:
    """Finds the messages to delete next.

    `hidden`: by room id, the seq up to which messages can no longer be read, although the log may still have
    them. `read` runs a function in the reader's thread, `write` a transaction of the appending connection.
    """

    def __init__(self, connection: sqlite3.Connection, hidden: dict[int, int]) -> None:
        self.hidden = hidden
        self._connection = connection
        self._next_room = 1  # the room at which the next scan by count starts
        self._index_cleaned = False  # whether deletions of the last run have reached the index

    def find(
        self,
        reader: LogReader,
        read: Run,
        write: Run,
        *,
        keep: int,
        before: float,
        last_id: int,
        last_room: int,
    ) -> list[SurplusMessage]:
        """Return messages to delete; the scan by count starts at the room where it last found some."""
        found: list[SurplusMessage] = self._find_hidden(reader, read, write, last_id)
        if not found and before:
            found = read(reader.surplus_by_age, before, last_id)
        if found or (self._index_cleaned and not keep):
            return found
        begin = self._next_room
        for first in (*range(begin, last_room + 1, SCAN_STEP_ROOMS), *range(1, begin, SCAN_STEP_ROOMS)):
            rooms = range(first, first + SCAN_STEP_ROOMS)
            found = read(reader.surplus_by_count, rooms, keep, last_id)
            if found:
                self._next_room = first
                return found
        self._index_cleaned = True
        return found

    def _find_hidden(self, reader: LogReader, read: Run, write: Run, last_id: int) -> list[SurplusMessage]:
        """Return hidden messages; note the rooms that have none left."""
        found: list[SurplusMessage] = []
        while self.hidden:
            rooms = dict(itertools.islice(self.hidden.items(), SCAN_STEP_ROOMS))
            found, empty = read(reader.surplus_hidden, rooms, last_id)
            if found or not empty:
                break
            write(note_deleted, self._connection, {room: rooms[room] for room in empty})
            for room in empty:
                if self.hidden.get(room) == rooms[room]:  # else it has ended once more meanwhile
                    del self.hidden[room]
        return found


def delete_messages(
    connection: sqlite3.Connection, found: Sequence[SurplusMessage], trimmed: dict[int, int]
) -> None:
    """Delete messages; `trimmed` has the last seq of each of their rooms."""
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.executemany("DELETE FROM log WHERE id = ?", [(one.id,) for one in found])
        _update_trimmed(connection, trimmed)


def note_deleted(connection: sqlite3.Connection, trimmed: dict[int, int]) -> None:
    """Store that the log has no messages of these rooms up to the given seqs."""
    with transaction(connection, "BEGIN IMMEDIATE"):
        _update_trimmed(connection, trimmed)


def _update_trimmed(connection: sqlite3.Connection, trimmed: dict[int, int]) -> None:
    connection.executemany(
        "UPDATE rooms SET trimmed = max(trimmed, ?) WHERE id = ?",
        [(seq, room) for room, seq in trimmed.items()],
    )
