"""Retention: finds messages over the limits, by age at the start of the log, by count through the index.

Deletes nothing of the log. Deleted messages are always the oldest of their room, so one number a room is
enough: the log has no message of the room with a seq up to `trimmed`. Runs in the thread of the upkeep.
"""

import sqlite3
from typing import Final, NamedTuple

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.sqlite.damage import UnreadableRows, is_at, is_bad_content
from chat_server.engines.sqlite.index import Index
from chat_server.engines.sqlite.rows import READ_AS_JSON, Row, RowDamaged, decode_rows

TRIM_STEP_MESSAGES: Final = 500
"""Messages deleted in one step: a few milliseconds of the event loop, between commits."""

SCAN_STEP_ROOMS: Final = 1000
"""Rooms scanned in one call, so that reads get in between."""


_BY_AGE: Final = (
    f"SELECT {READ_AS_JSON} FROM (SELECT * FROM log.log "  # noqa: S608  constants only
    "WHERE id > ? AND id < ? ORDER BY id LIMIT ?) l"
)


class SurplusMessage(NamedTuple):
    """Position of a message to delete. `room` and `seq` are 0 of a damaged row, which may say anything."""

    id: int
    room: int
    seq: int


class Retention:
    """Finds what is to be deleted."""

    def __init__(self, index: Index, unreadable: UnreadableRows) -> None:
        self._index = index
        self._unreadable = unreadable

    def surplus_by_age(self, before: float, last_id: int) -> list[SurplusMessage]:
        """Return the first messages of the log, if older than `before` (s since 1970), never its last one.

        Damaged rows among them count as old.
        """
        return self._index.use(lambda connection: self._by_age(connection, before, last_id), last_id)

    def _by_age(self, connection: sqlite3.Connection, before: float, last_id: int) -> list[SurplusMessage]:
        found: list[SurplusMessage] = []
        damaged: list[SurplusMessage] = []
        for row in self._first_rows(connection, last_id):
            if isinstance(row, int):
                damaged.append(SurplusMessage(row, 0, 0))
                continue
            if row[8] >= before:
                break
            found += [*damaged, SurplusMessage(row[0], row[1], row[2])]
            damaged = []
        return found

    def _first_rows(self, connection: sqlite3.Connection, last_id: int) -> list[Row | int]:
        """Return the first rows of the log, of damaged ones the ids."""
        try:
            (data,) = connection.execute(_BY_AGE, (0, last_id, TRIM_STEP_MESSAGES)).fetchone()
            return [*decode_rows(data)]
        except RowDamaged:
            pass
        except sqlite3.DatabaseError as error:
            if not is_bad_content(error):
                raise
        rows: list[Row | int] = []
        query = "SELECT id FROM log.log WHERE id < ? ORDER BY id LIMIT ?"
        try:
            numbers = connection.execute(query, (last_id, TRIM_STEP_MESSAGES)).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_bad_content(error):
                raise
            raise StoreUnavailable(f"retention cannot go on at a damaged page of the log: {error}") from error
        for (number,) in numbers:
            try:
                (data,) = connection.execute(_BY_AGE, (number - 1, number + 1, 1)).fetchone()
                rows += decode_rows(data)
            except (RowDamaged, sqlite3.DatabaseError) as error:
                if isinstance(error, sqlite3.DatabaseError) and not is_bad_content(error):
                    raise
                self._unreadable.add_row(number, str(error))
                rows.append(number)
        return rows

    def surplus_by_count(self, rooms: range, keep: int, last_id: int) -> list[SurplusMessage]:
        """Return messages of these rooms that have `keep` newer ones there (0: no limit), oldest first.

        Two index seeks a room. Also deletes index entries of messages that are no longer in the log: the
        process may have died, or the index been damaged, between the deletion from the log and the one from
        the index.
        """
        ends = self._index.use(
            lambda connection: connection.execute(
                "SELECT id, trimmed, (SELECT min(seq) FROM place WHERE room = rooms.id), "
                "(SELECT max(seq) FROM place WHERE room = rooms.id) FROM log.rooms WHERE id >= ? AND id < ?",
                (rooms.start, rooms.stop),
            ).fetchall(),
            last_id,
        )
        gone = {room: trimmed for room, trimmed, first, _ in ends if first is not None and first <= trimmed}
        if gone:
            self._index.delete_places(gone, last_id)
        ranges = [
            (room, max(first, trimmed + 1), last - keep)
            for room, trimmed, first, last in (ends if keep else ())
            if first is not None and max(first, trimmed + 1) <= last - keep
        ][:TRIM_STEP_MESSAGES]
        # A few of each room: these are adjacent in the log more often than many of one room, so fewer pages
        # change.
        share = TRIM_STEP_MESSAGES // max(len(ranges), 1)
        found: list[SurplusMessage] = []
        for room, begin, upto in ranges:
            end = min(upto, begin + share - 1)
            messages = self._between(room, begin, end, last_id)
            if len(messages) < end - begin + 1:  # what the index does not find must not stay for ever
                self._index.repair(room, begin, end, last_id)
                messages = self._between(room, begin, end, last_id)
            found += messages
        return sorted(found)

    def surplus_hidden(self, rooms: dict[int, int], last_id: int) -> tuple[list[SurplusMessage], list[int]]:
        """Return messages of these rooms up to the given seqs, oldest first; and the rooms without any.

        The last message of the log is not returned.
        """
        query = "SELECT id, seq FROM place WHERE room = ? AND seq <= ? ORDER BY seq LIMIT ?"

        def find(connection: sqlite3.Connection) -> tuple[list[SurplusMessage], list[int]]:
            found: list[SurplusMessage] = []
            empty = []
            for room, upto in rooms.items():
                left = TRIM_STEP_MESSAGES - len(found)
                if not left:
                    break
                messages = [
                    SurplusMessage(number, room, seq)
                    for number, seq in connection.execute(query, (room, upto, left)).fetchall()
                    if is_at(connection, number, room, seq, if_unreadable=True)
                ]
                found += [one for one in messages if one.id != last_id]
                if not messages:
                    empty.append(room)
            return sorted(found), empty

        return self._index.use(find, last_id)

    def _between(self, room: int, begin: int, end: int, last_id: int) -> list[SurplusMessage]:
        """Return the messages of a room from `begin` to `end` on which index and log agree, or may agree."""
        query = "SELECT id, seq FROM place WHERE room = ? AND seq >= ? AND seq <= ? AND id < ?"

        def find(connection: sqlite3.Connection) -> list[SurplusMessage]:
            entries = connection.execute(query, (room, begin, end, last_id)).fetchall()
            return [
                SurplusMessage(number, room, seq)
                for number, seq in entries
                if is_at(connection, number, room, seq, if_unreadable=True)
            ]

        return self._index.use(find, last_id)
