"""Rows of the table `log`: their columns, their checksums, and the events that they become."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import NewMessage, Origin

COLUMNS: Final = "id, room, seq, session, identity, ref, username, text, at, origin, checksum"
"""Columns of the table `log`, in the order of a `Row`."""

INSERT: Final = f"INSERT INTO log ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names only

WRITE_PROBE: Final = (
    "INSERT INTO meta (key, value) VALUES ('trial', '')",
    "DELETE FROM meta WHERE key = 'trial'",
)
"""Statements of an empty append: they rewrite a page without a change. An empty transaction would write
nothing, and so not notice a full disk."""

Row = tuple[int, int, int, str, int, str | None, str, str, float, str, int | None]

READ_AS_JSON: Final = (
    "CAST(json_group_array(json_array(l.id, l.room, l.seq, l.session, l.identity, l.ref, l.username, l.text, "
    "CAST(round(l.at * 1e6) AS INTEGER), l.origin, l.checksum)) AS BLOB)"
)
"""Selects rows of `log l` as one value for `decode_rows`.

With a row each, the sqlite3 module would release the interpreter's lock and wait for it again for each: up to
5 ms a row beside other busy threads. `at` is in microseconds: JSON numbers of SQLite have 15 digits."""

_decode = msgspec.json.Decoder(
    list[tuple[int, int, int, str, int, str | None, str, str, int, str, int | None]]
).decode


class RowDamaged(Exception):  # noqa: N818  a state of the file
    """A row of the log is not what was written."""


def author_checksum(session: str, identity: int, username: str, origin: str) -> int:
    """Return the part of a row's checksum that all rows of an author have in common."""
    return crc32(f"{session}\n{username}\n{origin}".encode(), identity)


class Author(Struct, frozen=True, gc=False):
    """What the rows of one session have in common. `crc`: `author_checksum`."""

    username: str
    identity: int
    origin: Origin
    origin_text: str  # a plain `str`: of a subclass the sqlite3 module asks each time how to store it
    crc: int

    @classmethod
    def of(cls, message: NewMessage) -> Author:
        """Return the author of a message."""
        origin = message.origin
        crc = author_checksum(message.session, message.identity, message.username, origin.value)
        return cls(message.username, message.identity, origin, origin.value, crc)


def checksum(author: int, number: int, room: int, seq: int, ref: str | None, text: str) -> int:
    """Return the checksum of a row with the id `number` and the `author_checksum`.

    A CRC-32 of the texts, whose start value depends on the numbers, so that a change in either changes it.
    The time is left out: nothing depends on it.
    """
    return crc32((text if ref is None else ref + text).encode(), author + number + 3 * seq + 5 * room)


def decode_rows(data: bytes) -> list[Row]:
    """Return the rows that were selected with `READ_AS_JSON`. Raises `RowDamaged` if one cannot be read."""
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RowDamaged("it has a value that cannot be read") from error
    rows: list[Row] = []
    for number, room, seq, session, identity, ref, username, text, micros, origin, check in found:
        author = author_checksum(session, identity, username, origin)
        if check is not None and check != checksum(author, number, room, seq, ref, text):
            raise RowDamaged("its checksum does not match")
        rows.append((number, room, seq, session, identity, ref, username, text, micros / 1e6, origin, check))
    return rows


def from_row(row: Row, room: str) -> MessageEvent:
    """Return the event of a log row; `room` is the name of its room."""
    _, _, seq, session, _, ref, username, text, at, origin, _ = row
    return MessageEvent(
        room=room,
        seq=seq,
        sender=session,
        username=username,
        message=text,
        timestamp=at,
        origin=origin,
        ref=ref,
    )


def text_bytes(row: Row) -> int:
    """Return the bytes of the message's text in UTF-8."""
    text = row[7]
    return len(text) if text.isascii() else len(text.encode())
