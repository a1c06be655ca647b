"""Retention in log and index: heads, entries of deleted messages, locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.sqlite import retention
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, texts

Open = Callable[..., SqliteEngine]


def all_of(store: Any, *, keep: int = 0, before: float = 0.0) -> Iterator[dict[int, int]]:
    """Trim until nothing is left, in at most 1,000 steps."""
    for _ in range(1000):
        trimmed = store.trim(keep=keep, before=before)
        if not trimmed:
            return
        yield trimmed
    pytest.fail("trim never ends")


def places(store: SqliteEngine) -> list[tuple[int, int]]:
    return list(store.index._connection.execute("SELECT room, seq FROM place ORDER BY room, seq"))


def test_trimmed_room_keeps_its_head_after_restart(open_store: Open) -> None:
    store = open_store()
    epoch = store.epoch
    pen = Pen(store)
    pen.say("a", *"123")
    conversation = pen.conversation("@ann,bob", (1, 2))
    pen.write((conversation, "1"), (conversation, "2"))
    pen.say("b", "the last of all")
    assert len(list(all_of(store, before=2e9))) == 1
    assert places(store) == [(3, 1)]
    for _ in range(2):
        store.close()
        store = open_store()
        assert (store.epoch, store.epoch_changed) == (epoch, False)
        assert {record.name: record.head for record in store.public_rooms()} == {"a": 3, "b": 1}
        assert [one.room.head for one in store.conversations_of([1])] == [2]
    pen = Pen(store)
    (message,) = pen.say("a", "4")
    assert [message.seq, message.stored_at] == [4, 7]
    assert texts(store, pen.room("a")) == ["4"]


def test_stale_index_entries_are_skipped_and_deleted(open_store: Open, path: Path) -> None:
    """Given a process that died between the deletion from the log and the one from the index."""
    store = open_store()
    pen = Pen(store)
    pen.say("a", *"12345")
    store.maintain()
    store.close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM log WHERE seq <= 3")
        other.execute("UPDATE rooms SET trimmed = 3")
    store = open_store()
    assert places(store) == [(1, seq) for seq in (1, 2, 3, 4, 5)]
    (room,) = store.public_rooms()
    assert room.head == 5
    assert texts(store, room) == ["4", "5"]
    assert [event.seq for event in store.read(room.id, room.name, 0, 9, 2, newest=False)] == [4, 5]
    assert store.trim(keep=0, before=0.0) == {}
    assert places(store) == [(1, 4), (1, 5)]
    assert store.trim(keep=1, before=0.0) == {1: 4}


def test_stale_index_entries_do_not_hide_surplus_messages(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TRIM_STEP_MESSAGES", 2)
    store = open_store()
    pen = Pen(store)
    pen.say("a", *"123456")
    store.close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM log WHERE seq <= 3")
        other.execute("UPDATE rooms SET trimmed = 3")
    store = open_store()
    assert list(all_of(store, keep=1)) == [{1: 5}]
    assert texts(store, pen.room("a")) == ["6"]


def test_trim_with_locked_index_reports_deletions_next_time(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", *"12345")
    store.maintain()
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.trim(keep=3, before=0.0)
    assert texts(store, pen.room("a")) == ["3", "4", "5"]
    assert store.trim(keep=3, before=0.0) == {1: 2}
    assert places(store) == [(1, 3), (1, 4), (1, 5)]
    assert store.trim(keep=3, before=0.0) == {}


def test_trim_of_locked_log_deletes_nothing(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", *"12345")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.trim(keep=3, before=0.0)
    assert texts(store, pen.room("a")) == [*"12345"]
    assert store.trim(keep=3, before=0.0) == {1: 2}
    path.unlink()
    with pytest.raises(StoreUnavailable, match="was removed"):
        store.trim(keep=1, before=0.0)


def test_trim_updates_index_first(open_store: Open) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", *"12345")
    assert places(store) == []
    assert store.trim(keep=2, before=0.0) == {1: 3}
    assert places(store) == [(1, 4), (1, 5)]
    assert texts(store, pen.room("a")) == ["4", "5"]


def test_trim_of_rooms_without_surplus_scans_no_index(open_store: Open) -> None:
    """Two seeks a room through the primary key of the index; no scan."""
    store = open_store()
    Pen(store).say("a", "1")
    statements: list[str] = []
    connection = store.index._connection
    connection.set_trace_callback(statements.append)
    store.maintain()
    statements.clear()
    store.trim(keep=1, before=1.0)
    connection.set_trace_callback(None)
    selects = [one for one in statements if one.startswith("SELECT")]
    assert len(selects) == 2, selects
    for one in selects:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")]
        # `l` are the rows that a search has found already
        assert not any(step.startswith("SCAN") and step != "SCAN l" for step in plan), plan
