"""Retention: which messages are deleted, and that their seqs are not reused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chat_server.core.ports.store import StoreUnavailable
from chat_server.engines import memory
from chat_server.engines.sqlite import log, retention
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen

Open = Callable[..., SqliteStore]
Texts = Callable[..., list[str]]


def all_of(store: Any, *, keep: int = 0, before: float = 0.0) -> Iterator[dict[int, int]]:
    """Trim until nothing is left, in at most 1,000 steps."""
    for _ in range(1000):
        trimmed = store.trim(keep=keep, before=before)
        if not trimmed:
            return
        yield trimmed
    pytest.fail("trim never ends")


def places(store: SqliteStore) -> list[tuple[int, int]]:
    return list(store.reader._connection.execute("SELECT room, seq FROM place ORDER BY room, seq"))


def write_at(pen: Pen, room: Any, *times: float) -> None:
    """Write messages with these timestamps, and with them as text."""
    for at in times:
        batch = pen.batch((room, f"{at:g}"))
        batch.timestamp = at
        pen.store.append(batch)


def test_trim_without_limits_deletes_nothing(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    pen = make_pen(store)
    pen.say("a", "one", "two")
    assert store.trim(keep=0, before=0.0) == {}
    assert read_texts(store, pen.room("a")) == ["one", "two"]


def test_trim_by_count_keeps_newest_of_each_room(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    pen = make_pen(store)
    messages = pen.say("a", *"12345")
    pen.say("b", *"12")
    conversation = pen.conversation("@ann,bob", (1, 2))
    for text in "1234":
        pen.write((conversation, text))
    ids = {name: pen.room(name).record.id for name in "ab"}
    assert list(all_of(store, keep=3)) == [{ids["a"]: 2, conversation.record.id: 1}]
    assert read_texts(store, pen.room("a")) == ["3", "4", "5"]
    assert read_texts(store, pen.room("b")) == ["1", "2"]
    assert read_texts(store, conversation) == ["2", "3", "4"]
    assert [store.find_message(message.id) is not None for message in messages] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert [message.seq for message in pen.say("a", "6")] == [6]


def test_trim_by_age_stops_at_first_newer_log_row(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    """After the clock was set back, old rows that follow a newer one in the log are deleted with it."""
    pen = make_pen(store)
    a, b = pen.room("a"), pen.room("b")
    write_at(pen, a, 100)
    write_at(pen, b, 101)
    write_at(pen, a, 200)
    write_at(pen, b, 50, 51)  # the clock was set back
    write_at(pen, a, 300)
    assert list(all_of(store, before=150.0)) == [{a.record.id: 1, b.record.id: 1}]
    assert (read_texts(store, a), read_texts(store, b)) == (["200", "300"], ["50", "51"])
    assert list(all_of(store, before=200.0)) == []  # not older than
    assert list(all_of(store, before=201.0)) == [{a.record.id: 2, b.record.id: 3}]
    assert (read_texts(store, a), read_texts(store, b)) == (["300"], [])


def test_trim_never_deletes_last_row_of_the_log(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    pen = make_pen(store)
    write_at(pen, pen.room("a"), 1, 2)
    assert list(all_of(store, before=1e9)) == [{1: 1}]
    assert read_texts(store, pen.room("a")) == ["2"]
    write_at(pen, pen.room("b"), 3)
    assert list(all_of(store, before=1e9)) == [{1: 2}]
    assert read_texts(store, pen.room("a")) == []
    (message,) = pen.say("a", "three")
    assert message.seq == 3
    assert read_texts(store, pen.room("a")) == ["three"]


def test_trim_of_many_messages_takes_bounded_steps(
    store: Any, make_pen: type[Pen], read_texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TRIM_STEP_MESSAGES", 10)
    monkeypatch.setattr(memory, "TRIM_STEP_MESSAGES", 10)
    monkeypatch.setattr(log, "SCAN_STEP_ROOMS", 2)
    pen = make_pen(store)
    rooms = [pen.room(name) for name in "abcdefg"]
    for number in range(15):
        pen.write(*((room, str(number)) for room in rooms))
    left = [15] * len(rooms)
    for trimmed in all_of(store, keep=2):
        now = [len(read_texts(store, room)) for room in rooms]
        assert 0 < sum(left) - sum(now) <= 10
        assert trimmed == {
            room.record.id: 15 - kept for room, kept, had in zip(rooms, now, left, strict=True) if kept != had
        }
        left = now
    assert left == [2] * len(rooms)
    assert sum(len(trimmed) for trimmed in all_of(store, before=2e9)) >= len(rooms)
    assert [len(read_texts(store, room)) for room in rooms] == [0] * 6 + [1]


def test_trimmed_room_keeps_its_head_after_restart(
    open_store: Open, make_pen: type[Pen], read_texts: Texts
) -> None:
    store = open_store()
    epoch = store.epoch
    pen = make_pen(store)
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
        assert {record.name: record.seq for record in store.public_rooms()} == {"a": 3, "b": 1}
        assert [one.room.seq for one in store.conversations_of([1])] == [2]
    pen = make_pen(store)
    (message,) = pen.say("a", "4")
    assert (message.seq, message.id) == (4, 7)
    assert read_texts(store, pen.room("a")) == ["4"]


def test_stale_index_entries_are_skipped_and_deleted(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path
) -> None:
    """Given a process that died between the deletion from the log and the one from the index."""
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *"12345")
    store.maintain()
    store.close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM log WHERE seq <= 3")
        other.execute("UPDATE rooms SET trimmed = 3")
    store = open_store()
    assert places(store) == [(1, seq) for seq in (1, 2, 3, 4, 5)]
    (room,) = store.public_rooms()
    assert room.seq == 5
    assert read_texts(store, room) == ["4", "5"]
    assert [event.seq for event in store.read(room, 0, 9, 2, newest=False)] == [4, 5]
    assert store.trim(keep=0, before=0.0) == {}
    assert places(store) == [(1, 4), (1, 5)]
    assert store.trim(keep=1, before=0.0) == {1: 4}


def test_stale_index_entries_do_not_hide_surplus_messages(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TRIM_STEP_MESSAGES", 2)
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *"123456")
    store.close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM log WHERE seq <= 3")
        other.execute("UPDATE rooms SET trimmed = 3")
    store = open_store()
    assert list(all_of(store, keep=1)) == [{1: 5}]
    assert read_texts(store, pen.room("a")) == ["6"]


def test_trim_with_locked_index_reports_deletions_next_time(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *"12345")
    store.maintain()
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.trim(keep=3, before=0.0)
    assert read_texts(store, pen.room("a")) == ["3", "4", "5"]
    assert store.trim(keep=3, before=0.0) == {1: 2}
    assert places(store) == [(1, 3), (1, 4), (1, 5)]
    assert store.trim(keep=3, before=0.0) == {}


def test_trim_of_locked_log_deletes_nothing(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *"12345")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.trim(keep=3, before=0.0)
    assert read_texts(store, pen.room("a")) == [*"12345"]
    assert store.trim(keep=3, before=0.0) == {1: 2}
    path.unlink()
    with pytest.raises(StoreUnavailable, match="was removed"):
        store.trim(keep=1, before=0.0)


def test_trim_updates_index_first(open_store: Open, make_pen: type[Pen], read_texts: Texts) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *"12345")
    assert places(store) == []
    assert store.trim(keep=2, before=0.0) == {1: 3}
    assert places(store) == [(1, 4), (1, 5)]
    assert read_texts(store, pen.room("a")) == ["4", "5"]


def test_trim_of_rooms_without_surplus_scans_no_index(open_store: Open, make_pen: type[Pen]) -> None:
    """Two seeks a room through the primary key of the index; no scan."""
    store = open_store()
    make_pen(store).say("a", "1")
    statements: list[str] = []
    connection = store.reader._connection
    connection.set_trace_callback(statements.append)
    store.maintain()
    statements.clear()
    store.trim(keep=1, before=1.0)
    connection.set_trace_callback(None)
    selects = [one for one in statements if one.startswith("SELECT")]
    assert len(selects) == 2, selects
    for one in selects:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")]
        assert not any(step.startswith("SCAN") for step in plan), plan
