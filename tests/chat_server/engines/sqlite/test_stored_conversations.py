"""Stored conversations in SQLite: how they are found, and tables or texts that cannot be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, RegistryChanges
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, Room, saved, session, texts

Open = Callable[..., SqliteEngine]


def test_conversations_of_many_identities_are_found_by_index(open_store: Open) -> None:
    store = open_store()
    rooms = [NewRoom(f"@{n}", f"@{n}", (n, n + 1)) for n in range(10, 1000)]
    store.write(RegistryChanges(rooms=rooms))
    assert len(store.conversations_of(range(20_000))) == len(rooms)
    connection = store._connection
    assert not connection.execute("SELECT name FROM temp.sqlite_master").fetchall()
    connection.execute("CREATE TEMP TABLE back (id INTEGER PRIMARY KEY)")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {registry._CONVERSATION_IDS}")]
    connection.execute("DROP TABLE back")
    assert sum(step.startswith("SEARCH rooms USING") for step in plan) == 2, plan
    assert not any(step.startswith("SCAN rooms") for step in plan), plan


def test_conversations_of_unreadable_log_raises_unavailable(open_store: Open) -> None:
    store = open_store()
    store._connection.execute("DROP TABLE standings")
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.conversations_of([1])
    with pytest.raises(StoreUnavailable, match="no such table"):  # and not: table back already exists
        store.conversations_of([1])


NO_TEXT = "CAST(x'6b8e74' AS TEXT)"
"""Bytes that are not UTF-8, as a value in SQL."""


def errors(store: SqliteEngine) -> list[str]:
    return [getattr(one, "error", "") for one in store.take_notices()]


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    """Overwrite bytes of the data file that are there once."""
    content = path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


@pytest.fixture
def said(open_store: Open, path: Path) -> Path:
    """A data file with a public room `Kit`, which has the key `kit`, another one, and a conversation."""
    store = open_store()
    pen = Pen(store)
    pen.rooms["Kit"] = Room("Kit", "kit")
    pen.say("Kit", "1", "2", "3")
    pen.say("other", "4")
    store.write(saved(session(7, "ann"), session(8, "bob")))
    private = pen.conversation("@ann,bob", (7, 8))
    pen.write((private, "5"))
    store.close()
    return path


@pytest.mark.parametrize(
    ("stored", "damaged"),
    [(b"Kitkit", b"K\x8etkit"), (b"Kitkit", b"Kitk\x8et")],
    ids=["name", "key"],
)
def test_room_of_which_name_or_key_is_damaged_is_served(
    said: Path, open_store: Open, stored: bytes, damaged: bytes
) -> None:
    overwrite(said, stored, damaged)
    store = open_store()
    rooms = {room.key: room for room in store.public_rooms()}
    assert set(rooms) == {"kit", "other"}
    assert rooms["kit"].name in ("Kit", "kit")
    assert texts(store, rooms["kit"]) == ["1", "2", "3"]
    assert errors(store) == ["room 1: its name or its key is damaged, and taken from the other"]
    (row,) = store.write(RegistryChanges(rooms=[NewRoom("kit", "kit")]))
    assert (row.id, row.head) == (rooms["kit"].id, 3)


def test_room_of_which_nothing_is_left_is_left_out_until_it_is_asked_for(
    said: Path, open_store: Open
) -> None:
    overwrite(said, b"Kitkit", b"K\x8et\xffit")
    store = open_store()
    assert [room.key for room in store.public_rooms()] == ["other"]
    assert [room.key for room in store.public_rooms()] == ["other"]
    assert errors(store) == ["room 1 is left out: its name and its key are damaged"]  # once
    # The index of keys still has it: no seq is issued twice
    (row,) = store.write(RegistryChanges(rooms=[NewRoom("Kit", "kit")]))
    assert (row.name.lower(), row.head) == ("kit", 3)
    assert not store.epoch_changed


def test_conversation_whose_name_is_damaged_is_served_or_left_out(said: Path, open_store: Open) -> None:
    overwrite(said, b"@ann,bob@ann,bob", b"@a\x8en,bob@ann,bob")
    store = open_store()
    (found,) = store.conversations_of([7, 8])
    assert (found.room.name, found.names) == ("@ann,bob", ("ann", "bob"))
    named = store.conversation_named("@ann,bob")
    assert named is not None
    assert named.name == "@ann,bob"
    assert texts(store, named) == ["5"]
    store.close()
    overwrite(said, b"@a\x8en,bob@ann,bob", b"@a\x8en,bob@a\x8en,bob")
    store = open_store()
    assert store.conversations_of([7, 8]) == []
    assert errors(store) == ["room 3 is left out: its name and its key are damaged"]
    (row,) = store.write(RegistryChanges(rooms=[NewRoom("@ann,bob", "@ann,bob", (7, 8))]))
    assert row.head == 1


def test_session_and_identities_that_are_damaged_are_left_out(said: Path, open_store: Open) -> None:
    with closing(sqlite3.connect(said)) as other, other:
        other.execute(f"UPDATE sessions SET name = {NO_TEXT} WHERE identity = 7")
        other.execute(f"UPDATE identities SET name = {NO_TEXT} WHERE id = 7")
        other.execute(f"UPDATE log SET username = {NO_TEXT} WHERE text = '2'")
    store = open_store()
    assert [one.name for one in store.resumable_sessions()] == ["bob"]
    assert [one.names for one in store.conversations_of([7, 8])] == [("", "bob")]
    assert errors(store) == ["the session of identity 7 is left out: it is damaged"]
    with closing(sqlite3.connect(said)) as other, other:
        other.execute(f"UPDATE sessions SET id = {NO_TEXT} WHERE identity = 8")
    assert store.resumable_sessions() == []


def test_epoch_that_is_no_text_is_a_new_one(said: Path, open_store: Open) -> None:
    with closing(sqlite3.connect(said)) as other, other:
        other.execute(f"UPDATE meta SET value = {NO_TEXT} WHERE key = 'epoch'")
    store = open_store()
    assert store.epoch_changed
    assert len(store.public_rooms()) == 2


@pytest.mark.parametrize("stored", [b"Kitkit", b"K\x8etkit", b"K\x8et\xffit"])
def test_message_is_found_under_no_wrong_name(said: Path, open_store: Open, stored: bytes) -> None:
    if stored != b"Kitkit":
        overwrite(said, b"Kitkit", stored)
    store = open_store()
    stored_at: Any = 2  # of a row
    event = store.find(stored_at)
    assert (event.room if event else None) == {b"Kitkit": "Kit", b"K\x8etkit": "kit"}.get(stored)
