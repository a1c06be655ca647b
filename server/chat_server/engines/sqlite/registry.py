"""The registry of identities, sessions, rooms and conversations: written with batches, read at the start."""

import sqlite3
from collections.abc import Collection
from contextlib import suppress

from chat_protocol import names
from chat_server.core.ports.records import (
    ConversationState,
    RegistryChanges,
    RoomRecord,
    SessionRecord,
    StoredConversation,
)
from chat_server.engines.sqlite.connect import transaction

_CONVERSATION_IDS = """
    SELECT rooms.id FROM back CROSS JOIN rooms ON rooms.low = back.id
    UNION
    SELECT rooms.id FROM back CROSS JOIN rooms ON rooms.high = back.id
"""  # CROSS JOIN: in this order, by the indexes on `low` and `high`

_CONVERSATIONS = """
    SELECT r.id, r.name, r.key, r.low, r.high, r.trimmed, low.name, high.name, s.seq, s.closed_by
    FROM own CROSS JOIN rooms r ON r.id = own.id
    LEFT JOIN identities low ON low.id = r.low
    LEFT JOIN identities high ON high.id = r.high
    LEFT JOIN standings s ON s.room = r.id
    ORDER BY own.id
"""


def write_changes(
    connection: sqlite3.Connection, changes: RegistryChanges, now: float, last_room: int
) -> int:
    """Write the changes of a batch; return the last room id. The caller has begun the transaction.

    `now`: the batch's timestamp, in seconds since the epoch.
    """
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
        connection.execute("UPDATE identities SET name = ? WHERE id = ?", (session.name, session.identity))
    if changes.ended_sessions:
        connection.executemany(
            "DELETE FROM sessions WHERE id = ?", [(one,) for one in changes.ended_sessions]
        )
    for record in changes.rooms:
        last_room += 1
        low, high = record.pair or (None, None)
        name, key = (record.name, record.key) if low is None else _unique_name(connection, record)
        connection.execute(
            "INSERT INTO rooms (id, name, key, low, high, created) VALUES (?, ?, ?, ?, ?, ?)",
            (last_room, name, key, low, high, now),
        )
        record.id, record.name, record.key, record.queued = last_room, name, key, False
    for state in changes.conversation_states:
        _write_conversation_state(connection, state)
    return last_room


def sessions(connection: sqlite3.Connection) -> list[SessionRecord]:
    """Return the sessions that have not ended."""
    rows = connection.execute("SELECT id, identity, name, secret_hash FROM sessions ORDER BY identity, id")
    return [SessionRecord(*row) for row in rows]


def conversations(connection: sqlite3.Connection, identities: Collection[int]) -> list[StoredConversation]:
    """Return the conversations of these identities, and close all others, whose users cannot come back.

    `room.seq` is the last deleted seq only; the caller takes the heads of kept messages from the index.
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
    return [
        StoredConversation(
            RoomRecord(name, key, id=room, seq=trimmed, pair=(low, high)),
            (low_name or "", high_name or ""),
            since,
            closed_by,
        )
        for room, name, key, low, high, trimmed, low_name, high_name, since, closed_by in rows
    ]


def _write_conversation_state(connection: sqlite3.Connection, state: ConversationState) -> None:
    room, seq, closed_by = state.room.id, state.since, state.closed_by
    if seq is None and closed_by is None:
        connection.execute("DELETE FROM standings WHERE room = ?", (room,))
    else:
        connection.execute("INSERT OR REPLACE INTO standings VALUES (?, ?, ?)", (room, seq, closed_by))


def _unique_name(connection: sqlite3.Connection, record: RoomRecord) -> tuple[str, str]:
    """Return name and key of a conversation, numbered if earlier ones of other identities have the name."""
    name, key = record.name, record.key
    (taken,) = connection.execute(
        "SELECT count(*) FROM rooms WHERE key = ? OR key > ? AND key < ?",
        (key, f"{key}#", f"{key}$"),  # "$" follows "#": the range of all numbered names
    ).fetchone()
    if taken:
        name = f"{name}#{taken + 1}"
    return name, names.fold(name)
