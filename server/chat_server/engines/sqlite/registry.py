"""The statements of the registry: identities, sessions, rooms, and conversations with their states.

Texts are read as bytes, since one that is damaged may not be UTF-8: then its row is left out and noted,
unless the name of a room can be taken from its key, or the key from the name.
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from chat_protocol import names
from chat_server.core.ports.log import ConversationRow
from chat_server.core.ports.registry import (
    NewRoom,
    RegistryChanges,
    SessionRecord,
    StoredConversation,
    StoredRoom,
)
from chat_server.engines.sqlite.connect import transaction

_CONVERSATION_IDS = """
    SELECT rooms.id FROM back CROSS JOIN rooms ON rooms.low = back.id
    UNION
    SELECT rooms.id FROM back CROSS JOIN rooms ON rooms.high = back.id
"""  # CROSS JOIN: in this order, by the indexes on `low` and `high`

_CONVERSATIONS = """
    SELECT r.id, CAST(r.name AS BLOB), CAST(r.key AS BLOB), r.low, r.high, r.trimmed,
    CAST(low.name AS BLOB), CAST(high.name AS BLOB), s.seq, s.closed_by
    FROM own CROSS JOIN rooms r ON r.id = own.id
    LEFT JOIN identities low ON low.id = r.low
    LEFT JOIN identities high ON high.id = r.high
    LEFT JOIN standings s ON s.room = r.id
    ORDER BY own.id
"""

Note = Callable[[str], None]
"""Takes a sentence about a row that is damaged."""


def _text(value: object) -> str | None:
    """Return a text that was read as bytes, None if it is damaged."""
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None


def room_names(name: object, key: object) -> tuple[str, str] | None:
    """Return name and key of a room that were read as bytes, one from the other if it is damaged."""
    known, folded = _text(name), _text(key)
    if known is not None:
        return known, names.fold(known) if folded is None else folded
    return None if folded is None else (folded, folded)


def _noted_room_names(room: int, name: object, key: object, note: Note) -> tuple[str, str] | None:
    found = room_names(name, key)
    if found is None:
        note(f"room {room} is left out: its name and its key are damaged")
    elif _text(name) is None or _text(key) is None:
        note(f"room {room}: its name or its key is damaged, and taken from the other")
    return found


def last_ids(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return the last ids of messages, identities and rooms; 0 where there are none."""
    tables = ("log", "identities", "rooms")
    last, identity, room = (
        connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0  # noqa: S608  constants
        for table in tables
    )
    return last, identity, room


def write_changes(
    connection: sqlite3.Connection,
    changes: RegistryChanges,
    ended_heads: Sequence[int],
    now: float,
    last_room: int,
) -> list[StoredRoom]:
    """Write the changes and return the rooms, in one transaction; new ones are numbered from `last_room` + 1.

    `ended_heads`: last seqs of `changes.ended_rooms`. `now`: seconds since the epoch. Of rooms that are
    stored already, the heads of those that had ended are filled in.
    """
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.executemany(
            "INSERT OR IGNORE INTO identities (id, kind, name, created) VALUES (?, ?, ?, ?)",
            [(one.id, one.kind, one.name, now) for one in changes.identities],
        )
        connection.executemany(
            "INSERT INTO sessions (id, identity, name, secret_hash, created) VALUES (?, ?, ?, ?, ?)",
            [(one.id, one.identity, one.name, one.secret_hash, now) for one in changes.sessions],
        )
        for session in changes.renamed_sessions:
            connection.execute("UPDATE sessions SET name = ? WHERE id = ?", (session.name, session.id))
            connection.execute(
                "UPDATE identities SET name = ? WHERE id = ?", (session.name, session.identity)
            )
        connection.executemany(
            "DELETE FROM sessions WHERE id = ?", [(one,) for one in changes.ended_sessions]
        )
        connection.executemany(
            "UPDATE rooms SET ended = 1, hidden = max(hidden, ?) WHERE id = ? AND low IS NULL",
            [(head, one.id) for head, one in zip(ended_heads, changes.ended_rooms, strict=True)],
        )
        rooms = []
        for room in changes.rooms:
            stored = _stored_room(connection, room)
            if stored is None:
                last_room += 1
                stored = _insert_room(connection, room, last_room, now)
            rooms.append(stored)
        return rooms


def _stored_room(connection: sqlite3.Connection, room: NewRoom) -> StoredRoom | None:
    """Return the room if it is stored already: its first messages were not."""
    query = "SELECT id, CAST(name AS BLOB), CAST(key AS BLOB), ended, max(hidden, trimmed) FROM rooms WHERE "
    if room.pair is None:
        found = connection.execute(query + "key = ? AND low IS NULL", (room.key,))
    else:
        found = connection.execute(query + "low = ? AND high = ?", room.pair)
    row = found.fetchone()
    if row is None:
        return None
    number, stored_name, stored_key, ended, head = row
    named = room_names(stored_name, stored_key)
    if named is None:
        named = (room.name, room.key) if room.pair is None else _unique_name(connection, room)
    name, key = named
    if not ended:
        return StoredRoom(number, name, key, room.pair)
    connection.execute("UPDATE rooms SET ended = 0, name = ? WHERE id = ?", (room.name, number))
    return StoredRoom(number, room.name, key, None, head, head)


def _insert_room(connection: sqlite3.Connection, room: NewRoom, number: int, now: float) -> StoredRoom:
    low, high = room.pair or (None, None)
    name, key = (room.name, room.key) if low is None else _unique_name(connection, room)
    connection.execute(
        "INSERT INTO rooms (id, name, key, low, high, created) VALUES (?, ?, ?, ?, ?, ?)",
        (number, name, key, low, high, now),
    )
    return StoredRoom(number, name, key, room.pair)


def write_states(connection: sqlite3.Connection, states: Sequence[ConversationRow]) -> None:
    """Write states of conversations. The caller has begun the transaction."""
    for state in states:
        if state.since is None and state.closed_by is None:
            connection.execute("DELETE FROM standings WHERE room = ?", (state.room,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO standings VALUES (?, ?, ?)",
                (state.room, state.since, state.closed_by),
            )


def public_rooms(connection: sqlite3.Connection, note: Note) -> list[StoredRoom]:
    """Return the public rooms that have not ended; `head` as in `conversations`."""
    rows = connection.execute(
        "SELECT id, CAST(name AS BLOB), CAST(key AS BLOB), max(hidden, trimmed) FROM rooms "
        "WHERE low IS NULL AND NOT ended ORDER BY id"
    )
    found = []
    for room, name, key, trimmed in rows:
        named = _noted_room_names(room, name, key, note)
        if named is not None:
            found.append(StoredRoom(room, *named, None, trimmed, trimmed))
    return found


def ended_head(connection: sqlite3.Connection, key: str) -> int:
    """Return the last seq of the public room of this key if it has ended, else 0."""
    row = connection.execute(
        "SELECT max(hidden, trimmed) FROM rooms WHERE key = ? AND low IS NULL AND ended", (key,)
    ).fetchone()
    return row[0] if row else 0


def hidden_seqs(connection: sqlite3.Connection) -> dict[int, int]:
    """Return by room id the seq up to which messages are hidden, of rooms that may have such messages."""
    return dict(connection.execute("SELECT id, hidden FROM rooms WHERE hidden > trimmed"))


def sessions(connection: sqlite3.Connection, note: Note) -> list[SessionRecord]:
    """Return the sessions that have not ended."""
    rows = connection.execute(
        "SELECT CAST(id AS BLOB), identity, CAST(name AS BLOB), secret_hash FROM sessions "
        "ORDER BY identity, id"
    )
    found = []
    for stored_id, identity, stored_name, secret_hash in rows:
        session, name = _text(stored_id), _text(stored_name)
        if session is None or name is None or not isinstance(secret_hash, bytes):
            note(f"the session of identity {identity} is left out: it is damaged")
        else:
            found.append(SessionRecord(session, identity, name, secret_hash))
    return found


def conversations(
    connection: sqlite3.Connection, identities: Collection[int], note: Note
) -> list[StoredConversation]:
    """Return the conversations of these identities, and close all others, whose users cannot come back.

    `room.head` is the last deleted seq only; the caller takes the heads of kept messages from the index.
    """
    connection.execute("CREATE TEMP TABLE back (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TEMP TABLE own (id INTEGER PRIMARY KEY)")
    try:
        with transaction(connection):
            connection.executemany("INSERT OR IGNORE INTO back VALUES (?)", [(one,) for one in identities])
            connection.execute(f"INSERT INTO own {_CONVERSATION_IDS}")
        rows = connection.execute(_CONVERSATIONS).fetchall()
        with suppress(sqlite3.OperationalError):  # the disk is full: the deletion can wait
            connection.execute("DELETE FROM standings WHERE room NOT IN (SELECT id FROM own)")
    finally:
        connection.execute("DROP TABLE back")
        connection.execute("DROP TABLE own")
    found = []
    for room, name, key, low, high, trimmed, low_name, high_name, since, closed_by in rows:
        named = _noted_room_names(room, name, key, note)
        if named is not None:
            stored = StoredRoom(room, *named, (low, high), trimmed)
            users = _text(low_name) or "", _text(high_name) or ""
            found.append(StoredConversation(stored, users, since, closed_by))
    return found


def _unique_name(connection: sqlite3.Connection, room: NewRoom) -> tuple[str, str]:
    """Return name and key of a conversation, numbered if earlier ones of other identities have the name."""
    name, key = room.name, room.key
    (taken,) = connection.execute(
        "SELECT count(*) FROM rooms WHERE key = ? OR key > ? AND key < ?",
        (key, f"{key}#", f"{key}$"),  # "$" follows "#": the range of all numbered names
    ).fetchone()
    if taken:
        name = f"{name}#{taken + 1}"
    return name, names.fold(name)
