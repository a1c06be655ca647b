"""Resumable sessions after a restart: kept under their last names until they end."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chat_server.core.delivery.batch import Batch
from chat_server.core.ports.records import IdentityRecord, RegistryChanges, SessionRecord
from chat_server.core.ports.store import StoreUnavailable
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen

Open = Callable[..., SqliteStore]


def session(number: int, name: str) -> SessionRecord:
    return SessionRecord(f"s{number}", number, name, hashlib.sha256(name.encode()).digest())


def write(store: SqliteStore, records: RegistryChanges) -> None:
    batch = Batch()
    batch.timestamp = 1.7e9
    batch.registry_changes = records
    store.append(batch)


def saved(*sessions: SessionRecord) -> RegistryChanges:
    return RegistryChanges(
        identities=[IdentityRecord(one.identity, one.name) for one in sessions], sessions=[*sessions]
    )


def shown(store: SqliteStore) -> list[tuple[str, int, str, bytes]]:
    return [(one.id, one.identity, one.name, one.secret_hash) for one in store.resumable_sessions()]


def test_sessions_are_read_with_last_names_until_ended(open_store: Open) -> None:
    ann, bob, cat = session(1, "ann"), session(2, "bob"), session(3, "cat")
    store = open_store()
    assert store.resumable_sessions() == []
    write(store, saved(ann, bob, cat))
    write(
        store,
        RegistryChanges(
            renamed_sessions=[session(1, "anna"), session(1, "ann-marie")], ended_sessions=["s2"]
        ),
    )
    store.close()

    store = open_store()
    assert shown(store) == [("s1", 1, "ann-marie", ann.secret_hash), ("s3", 3, "cat", cat.secret_hash)]
    assert store.new_identity() == 4  # an identity is never issued twice
    write(store, RegistryChanges(ended_sessions=["s1", "s3", "nobody"]))
    assert store.resumable_sessions() == []


def test_sessions_are_dropped_with_a_new_epoch(open_store: Open, path: Path) -> None:
    store = open_store()
    write(store, saved(session(1, "ann")))
    store.close()
    path.with_name(path.name + "-mark").unlink()
    store = open_store()
    assert store.epoch_changed
    assert store.resumable_sessions() == []
    assert store.new_identity() == 2


def test_rename_changes_name_of_the_identity(open_store: Open, path: Path) -> None:
    store = open_store()
    write(store, saved(session(1, "ann")))
    write(store, RegistryChanges(renamed_sessions=[session(1, "anna")]))
    store.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM identities").fetchall() == [("anna",)]


def test_session_saved_renamed_and_ended_in_one_batch_is_gone(open_store: Open) -> None:
    store = open_store()
    records = saved(session(1, "ann"), session(2, "bob"))
    records.renamed_sessions.append(session(2, "bobby"))
    records.ended_sessions.append("s1")
    write(store, records)
    assert [(one.id, one.name) for one in store.resumable_sessions()] == [("s2", "bobby")]


def test_registry_changes_of_failed_batch_are_rolled_back(open_store: Open, make_pen: type[Pen]) -> None:
    """Given a failed batch that ends one session and renames another, both are unchanged."""
    store = open_store()
    pen = make_pen(store)
    write(store, saved(session(1, "ann"), session(2, "bob")))
    store._connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.log BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    batch = pen.batch((pen.room("a"), "hi"))
    assert batch.registry_changes
    batch.registry_changes.ended_sessions.append("s1")
    batch.registry_changes.renamed_sessions.append(session(2, "bobby"))
    with pytest.raises(StoreUnavailable, match="refused"):
        store.append(batch)
    assert [one.name for one in store.resumable_sessions()] == ["ann", "bob"]
    store._connection.execute("DROP TRIGGER refuse")
    store.append(batch)
    assert [one.name for one in store.resumable_sessions()] == ["bobby"]


def test_sessions_of_unreadable_log_raises_unavailable(open_store: Open) -> None:
    store = open_store()
    store._connection.execute("DROP TABLE sessions")
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.resumable_sessions()


def test_data_file_of_first_version_is_migrated(
    open_store: Open, make_pen: type[Pen], read_texts: Callable[..., list[str]], path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one", "two")
    write(store, RegistryChanges(sessions=[session(1, "ann")]))
    epoch = store.epoch
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in (
            "DROP INDEX rooms_high",
            "ALTER TABLE rooms DROP COLUMN trimmed",
            "DROP TABLE standings",
            "PRAGMA user_version = 1",
        ):
            other.execute(statement)
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("DROP TABLE refs")
        other.execute("PRAGMA user_version = 1")
    store = open_store()
    assert store.epoch == epoch
    assert [one.name for one in store.resumable_sessions()] == ["ann"]
    assert [(record.name, record.seq) for record in store.public_rooms()] == [("a", 2)]
    assert read_texts(store, pen.room("a")) == ["one", "two"]
    assert store.trim(keep=1, before=0.0) == {1: 1}
    assert store.conversations_of([1]) == []
