"""Stored sessions in SQLite: a new epoch, unreadable tables, and a data file of the first version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import RegistryChanges
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, saved, session, texts

Open = Callable[..., SqliteEngine]


def test_sessions_are_dropped_with_a_new_epoch(open_store: Open, path: Path) -> None:
    store = open_store()
    store.write(saved(session(1, "ann")))
    store.close()
    path.with_name(path.name + "-mark").unlink()
    store = open_store()
    assert store.epoch_changed
    assert store.resumable_sessions() == []
    assert store.new_identity() == 2


def test_rename_changes_name_of_the_identity(open_store: Open, path: Path) -> None:
    store = open_store()
    store.write(saved(session(1, "ann")))
    store.write(RegistryChanges(renamed_sessions=[session(1, "anna")]))
    store.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM identities").fetchall() == [("anna",)]


def test_sessions_of_unreadable_log_raises_unavailable(open_store: Open) -> None:
    store = open_store()
    store._connection.execute("DROP TABLE sessions")
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.resumable_sessions()


def test_data_file_of_first_version_is_migrated(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one", "two")
    store.write(RegistryChanges(sessions=[session(1, "ann")]))
    epoch = store.epoch
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in (
            "DROP INDEX rooms_hidden",
            "ALTER TABLE rooms DROP COLUMN ended",
            "ALTER TABLE rooms DROP COLUMN hidden",
            "DROP INDEX rooms_high",
            "ALTER TABLE rooms DROP COLUMN trimmed",
            "DROP TABLE standings",
            "ALTER TABLE log DROP COLUMN checksum",
            "PRAGMA application_id = 0",
            "PRAGMA user_version = 1",
        ):
            other.execute(statement)
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("DROP TABLE refs")
        other.execute("PRAGMA user_version = 1")
    store = open_store()
    assert store.epoch == epoch
    assert [one.name for one in store.resumable_sessions()] == ["ann"]
    assert [(record.name, record.head) for record in store.public_rooms()] == [("a", 2)]
    assert texts(store, pen.room("a")) == ["one", "two"]
    assert store.trim(keep=1, before=0.0) == {1: 1}
    assert store.conversations_of([1]) == []
