"""Reads messages of the log through the index, and checks what it reads. A reader is for one native thread.

A page of messages is read by one statement, which joins each entry of the index with the row of the log that
has the same id, room and seq. If the answer is not complete, or a row is not what was written (rows.py), the
page is read once more, entry by entry: what the index has wrong is repaired from the log, and what the log
itself has lost is noted (damage.py) and left out. MUST NOT touch the event loop, sessions or the appending
connection.
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import UNBOUNDED_BYTES, StoredAt, StoreUnavailable
from chat_server.core.ports.registry import StoredRoom
from chat_server.engines.sqlite import refs, registry
from chat_server.engines.sqlite.connect import connect_to_read
from chat_server.engines.sqlite.damage import LogScan, UnreadableRows, is_at, is_bad_content
from chat_server.engines.sqlite.index import Index, heads_of
from chat_server.engines.sqlite.rows import READ_AS_JSON, Row, RowDamaged, decode_rows, from_row, text_bytes

PAGE_ROWS: Final = 128
"""Rows read by one statement."""

SCAN_ROWS: Final = 20_000
"""Rows at the end of the log that are searched while the index is being built: some 5 ms."""

MAX_REPAIRS: Final = 20
"""Repairs of the index for one page; each makes at least one entry right."""

_ENTRIES: Final = (
    "SELECT seq, id FROM place WHERE room = ? AND seq >= ? AND seq <= ? ORDER BY seq {order} LIMIT ?"
)

_PAGE: Final = (
    f"SELECT {READ_AS_JSON} FROM ({_ENTRIES}) p "  # noqa: S608  constants only
    "LEFT JOIN log.log l ON l.id = p.id AND l.room = ? AND l.seq = p.seq"
)

_SCAN: Final = (
    f"SELECT {READ_AS_JSON} FROM (SELECT * FROM log.log "  # noqa: S608  constants only
    "WHERE id > ? AND room = ? AND seq >= ? AND seq <= ? ORDER BY id {order} LIMIT ?) l"
)

_ROW: Final = f"SELECT {READ_AS_JSON} FROM log.log l WHERE l.id = ?"  # noqa: S608  constants only


class LogReader:
    """One connection that reads. A lock allows one call at a time."""

    def __init__(self, path: Path, index: Index, unreadable: UnreadableRows) -> None:
        self._path = path
        self._index = index
        self._unreadable = unreadable
        self._lock = threading.Lock()
        self._generation = index.generation
        self._connection = connect_to_read(index.path, path)

    def heads(self, rooms: Sequence[int], last_id: int) -> tuple[dict[int, int], int]:
        """Return the last seq by room id, 0 without messages, in a log that ends at `last_id`.

        Also how many rows of the log could not be looked at, since their pages are damaged.
        """
        with self._lock:
            connection = self._connect()
            scan = LogScan(connection)
            builder = self._index.builder
            if builder is not None:
                known = builder.known_heads
                newest = heads_of(scan, connection, builder.last_id, last_id)
                heads = {room: max(known.get(room, 0), newest.get(room, 0)) for room in rooms}
                return heads, scan.skipped_rows + self._index.skipped_rows
            newest = heads_of(scan, connection, self._index.watermark, last_id)
            query = "SELECT max(seq) FROM place WHERE room = ?"
            heads = {}
            try:
                for room in rooms:
                    (indexed,) = connection.execute(query, (room,)).fetchone()
                    heads[room] = max(indexed or 0, newest.get(room, 0))
            except sqlite3.DatabaseError as error:
                self._index.is_suspect = is_bad_content(error)
                raise
            return heads, scan.skipped_rows + self._index.skipped_rows

    def read(
        self,
        room: int,
        name: str,
        after: int,
        before: int,
        limit: int,
        newest: bool,
        size: int,
        last_id: int,
        head: int | None,
    ) -> list[MessageEvent]:
        """Return up to `limit` messages with after < seq < before, ascending; for `size` see `Log.read`.

        `head`: the last seq of the room, None if the caller does not know it.
        """
        with self._lock:
            if head is None:
                self._index.update(last_id)
                query = "SELECT max(seq) FROM place WHERE room = ?"
                (head,) = self._connect().execute(query, (room,)).fetchone()
            first, last = max(after + 1, 1), min(before - 1, head or 0)
            page = _Page(room, name, newest, last_id)
            rows: list[Row] = []
            while first <= last and len(rows) < limit and size >= 0:
                page.first, page.last, page.limit = first, last, min(limit - len(rows), PAGE_ROWS)
                found = self._read_page(page)
                for row in found:
                    rows.append(row)
                    if size < UNBOUNDED_BYTES:
                        size -= text_bytes(row)
                        if size < 0:
                            break
                first, last = page.rest()
        return [from_row(row, name) for row in (reversed(rows) if newest else rows)]

    def refs(self, session: str, limit: int, last_id: int) -> dict[int, StoredAt]:
        """Return a session's last refs, oldest first, each with the id of its log row."""
        with self._lock:
            self._index.update(last_id)
            try:
                return refs.newest(self._connect(), session, limit)
            except sqlite3.DatabaseError as error:
                self._index.rebuild(error, last_id)
                self._index.update(last_id)
                return refs.newest(self._connect(), session, limit)

    def last_rows(self, rooms: Sequence[int], last_id: int) -> dict[int, int]:
        """Return the id of the last row by room id, 0 without messages, or if nothing is indexed yet."""
        with self._lock:
            if self._index.building:
                return dict.fromkeys(rooms, 0)
            connection = self._connect()
            query = "SELECT room, max(id) FROM log.log WHERE id > ? AND id <= ? GROUP BY room"
            newest: dict[int, int] = {}
            for part in LogScan(connection).readable(self._index.watermark, last_id):
                newest.update(connection.execute(query, part))
            found = {}
            for room in rooms:
                row = connection.execute(
                    "SELECT id FROM place WHERE room = ? ORDER BY seq DESC LIMIT 1", (room,)
                ).fetchone()
                found[room] = newest.get(room) or (row[0] if row else 0)
            return found

    def conversation(self, key: str, last_id: int) -> StoredRoom | None:
        """Return the conversation of that folded name with its head, None if there is none."""
        with self._lock:
            self._index.update(last_id)
            row = (
                self._connect()
                .execute(
                    "SELECT id, CAST(name AS BLOB), low, high, trimmed, "
                    "(SELECT max(seq) FROM place WHERE room = rooms.id) "
                    "FROM log.rooms WHERE key = ? AND low IS NOT NULL",
                    (key,),
                )
                .fetchone()
            )
        if row is None:
            return None
        room, name, low, high, trimmed, last = row
        named = registry.room_names(name, key.encode()) or (key, key)
        return StoredRoom(room, named[0], key, (low, high), max(last or 0, trimmed), trimmed)

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Return the message of a log row, None if it does not exist, or is damaged."""
        with self._lock:
            try:
                row = self._read_row(stored_at)
            except RowDamaged as error:
                self._unreadable.add_row(stored_at, str(error))
                return None
            if row is None:
                return None
            query = "SELECT CAST(name AS BLOB), CAST(key AS BLOB) FROM log.rooms WHERE id = ? AND hidden < ?"
            found = self._connect().execute(query, row[1:3]).fetchone()
        named = None if found is None else registry.room_names(*found)  # None: its room has ended
        return None if named is None else from_row(row, named[0])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def give_away(self) -> sqlite3.Connection:
        """Return the connection, which `close` will not close."""
        given, self._connection = self._connection, sqlite3.connect(":memory:")
        return given

    def _connect(self) -> sqlite3.Connection:
        """Return the connection, to the index file as it is now."""
        generation = self._index.generation
        if generation != self._generation:
            connection = connect_to_read(self._index.path, self._path)
            self._connection.close()
            self._connection, self._generation = connection, generation
        return self._connection

    # A page at a time

    def _read_page(self, page: "_Page") -> list[Row]:
        """Return the rows of a page in its order, and note in the page how far they reach."""
        if not self._index.building:
            rows = self._join(page)
            if rows is not None and page.take(rows):
                return rows
        try:
            self._index.update(page.last_id)
        except StoreUnavailable:
            rows = self._scan_end(page)
            if rows is not None and page.take(rows):
                return rows
            raise
        self._skip_trimmed(page)
        if page.first > page.last:
            page.next = page.first
            return []
        rows = self._join(page)
        if rows is not None and page.take(rows):
            return rows
        for _ in range(MAX_REPAIRS):
            rows = self._read_each(page)
            if rows is not None:
                return rows
        self._index.discard(page.last_id)
        raise StoreUnavailable(f"the index of room {page.room} cannot be repaired")

    def _join(self, page: "_Page") -> list[Row] | None:
        """Return the rows that index and log agree on, None if they do not."""
        query = _PAGE.format(order=page.order)
        return self._fetch(query, (page.room, page.first, page.last, page.limit, page.room))

    def _scan_end(self, page: "_Page") -> list[Row] | None:
        """Return the rows of a page that are among the last ones of the log."""
        query = _SCAN.format(order=page.order)
        begin = page.last_id - SCAN_ROWS
        return self._fetch(query, (begin, page.room, page.first, page.last, page.limit))

    def _fetch(self, query: str, values: tuple[int, ...]) -> list[Row] | None:
        try:
            (data,) = self._connect().execute(query, values).fetchone()
            return decode_rows(data)
        except RowDamaged:
            return None
        except sqlite3.DatabaseError as error:
            if not is_bad_content(error):
                raise
            return None

    def _skip_trimmed(self, page: "_Page") -> None:
        """Begin a page behind the messages that retention has deleted."""
        query = "SELECT trimmed FROM log.rooms WHERE id = ?"
        found = self._connect().execute(query, (page.room,)).fetchone()
        if found is not None:
            page.first = max(page.first, found[0] + 1)

    # The slow way: each entry, each row

    def _read_each(self, page: "_Page") -> list[Row] | None:
        """Return the rows of a page without those that cannot be read; None after a repair of the index."""
        try:
            query = _ENTRIES.format(order=page.order)
            values = page.room, page.first, page.last, page.limit
            entries = self._connect().execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            self._index.rebuild(error, page.last_id)
            return None
        rows: list[Row] = []
        step = -1 if page.newest else 1
        expected = page.last if page.newest else page.first
        for seq, number in entries:
            if (seq - expected) * step < 0:
                continue  # out of order, or twice
            if seq != expected and self._repair(page, expected, seq - step):
                return None
            try:
                row = self._read_row(number)
            except RowDamaged as error:
                self._unreadable.add(page.room, page.name, seq, seq, f"row {number}: {error}")
            else:
                if row is not None and row[1:3] == (page.room, seq):
                    rows.append(row)
                elif self._repair(page, seq, seq):
                    return None
            expected = seq + step
        end = page.first if page.newest else page.last
        if len(entries) < page.limit:
            if (end - expected) * step >= 0 and self._repair(page, expected, end):
                return None
            expected = end + step
        if expected == (page.last if page.newest else page.first):
            return None  # no entry is in its place
        page.next = expected
        return rows

    def _read_row(self, number: object) -> Row | None:
        """Return a row of the log, None if it does not exist. Raises `RowDamaged`."""
        try:
            (data,) = self._connect().execute(_ROW, (number,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_bad_content(error):
                raise
            raise RowDamaged(str(error)) from error
        found = decode_rows(data)
        return found[0] if found else None

    def _repair(self, page: "_Page", one: int, other: int) -> bool:
        """Search for messages between two seqs that the index should have; return whether some were found.

        What the log does not have is noted as unreadable, and not searched for again.
        """
        found = False
        room = page.room
        for first, last in self._unreadable.parts_not_in(room, min(one, other), max(one, other)):
            self._index.repair(room, first, last, page.last_id)
            entries = self._connect().execute(
                "SELECT seq, id FROM place WHERE room = ? AND seq >= ? AND seq <= ? ORDER BY seq",
                (room, first, last),
            )
            seqs = [seq for seq, number in entries.fetchall() if is_at(self._connect(), number, room, seq)]
            found = found or bool(seqs)
            expected = first
            for seq in (*seqs, last + 1):
                if seq > expected:
                    self._unreadable.add(room, page.name, expected, seq - 1, "it is missing in the log")
                expected = seq + 1
        return found


class _Page:
    """What is read next: seqs from `first` to `last`, at most `limit` rows, from the end with `newest`."""

    def __init__(self, room: int, name: str, newest: bool, last_id: int) -> None:
        self.room = room
        self.name = name
        self.newest = newest
        self.order = "DESC" if newest else "ASC"
        self.last_id = last_id
        self.first = self.last = self.limit = 0
        self.next = 0  # the seq at which the following page begins

    def take(self, rows: Sequence[Row]) -> bool:
        """Return whether the rows are all that belong here: each seq once, in order, none left out."""
        count = min(self.limit, self.last - self.first + 1)
        begin = self.last if self.newest else self.first
        step = -1 if self.newest else 1
        if [row[2] for row in rows] != [*range(begin, begin + count * step, step)]:
            return False
        self.next = begin + count * step
        return True

    def rest(self) -> tuple[int, int]:
        """Return the first and the last seq of what follows."""
        return (self.first, self.next) if self.newest else (self.next, self.last)
