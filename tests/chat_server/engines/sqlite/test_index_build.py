"""A long log is indexed by a thread, while messages go on."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, RegistryChanges
from chat_server.engines.sqlite import index as index_module
from chat_server.engines.sqlite import index_build, reader
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, Room, events, saved, session, texts
from support.engines.two_rooms import ROWS, check, rebuilt, rooms_of, write_two_rooms

Open = Callable[..., SqliteEngine]


@pytest.fixture
def written(open_store: Open, path: Path) -> Path:
    """A data file with messages of two rooms by turns: the text of seq N in room a is `aN`."""
    write_two_rooms(open_store())
    return path


@pytest.fixture
def in_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let a thread index logs of this length, in many steps; it waits for the event at its first pause."""
    monkeypatch.setattr(index_module, "BUILD_IN_THREAD_ROWS", 100)
    monkeypatch.setattr(index_build, "RUN_ROWS", 70)
    monkeypatch.setattr(index_build, "MERGE_ROWS", 90)
    monkeypatch.setattr(index_build, "PAUSE_S", 0.0)
    monkeypatch.setattr(reader, "SCAN_ROWS", 40)
    go = threading.Event()
    steps = index_build.IndexBuilder._steps

    def waiting(self: Any, connection: sqlite3.Connection) -> Iterator[None]:
        for _ in steps(self, connection):
            while not go.wait(0.01) and not self._stopped.is_set():
                pass
            yield

    monkeypatch.setattr(index_build.IndexBuilder, "_steps", waiting)
    yield go
    go.set()


def build_ends(store: SqliteEngine) -> None:
    deadline = time.monotonic() + 60
    while store.index.building:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def remove_index(path: Path) -> None:
    Path(f"{path}-index").unlink()


def test_server_writes_and_reads_its_end_while_a_long_log_is_indexed(
    written: Path, open_store: Open, in_thread: threading.Event
) -> None:
    remove_index(written)
    store = open_store()
    assert store.index.building
    rooms = rooms_of(store)
    assert {name: room.head for name, room in rooms.items()} == {"a": ROWS, "b": ROWS}
    pen = Pen(store)
    assert pen.say("a", f"a{ROWS + 1}")[0].seq == ROWS + 1
    assert pen.say("new", "one")[0].seq == 1
    a = rooms["a"]

    # What is at the end of the log is read; what is not is refused, and not called lost
    newest = store.read(a.id, "a", 0, ROWS + 2, 3, newest=True)
    assert [one.message for one in newest] == [f"a{seq}" for seq in range(ROWS - 1, ROWS + 2)]
    assert [one.seq for one in store.read(a.id, "a", ROWS - 5, ROWS + 2, 99, newest=False)] == [
        *range(ROWS - 4, ROWS + 2)
    ]
    for after, before, from_end in ((0, 9, False), (0, ROWS + 2, False), (0, 100, True)):
        with pytest.raises(StoreUnavailable, match="being built"):
            store.read(a.id, "a", after, before, 9, newest=from_end)
    with pytest.raises(StoreUnavailable, match="being built"):
        store.refs("s1", 9)
    assert store.maintain() > 0  # checkpoints go on
    assert store.trim(keep=1, before=2e9) == {}
    assert (store.unreadable_messages, rebuilt(store)) == (0, [])

    # When it is built, all is read
    in_thread.set()
    build_ends(store)
    assert len(texts(store, a)) == ROWS + 1
    assert len(texts(store, rooms["b"])) == ROWS
    assert rebuilt(store) == ["missing"]
    assert not Path(f"{written}-index-build").exists()
    assert store.trim(keep=5, before=0.0)
    store.close()
    assert rebuilt(open_store()) == []


@pytest.mark.usefixtures("in_thread")
def test_head_of_a_released_room_is_known_while_the_index_is_built(written: Path, open_store: Open) -> None:
    store = open_store()
    pen = Pen(store)
    room = pen.conversation("@ann,bob", (1, 2))
    pen.write((room, "one"))
    store.close()
    remove_index(written)
    store = open_store()
    assert store.index.building
    pen = Pen(store)
    for expected in (2, 3):
        again = pen.conversation("@ann,bob", (1, 2))
        (row,) = store.write(RegistryChanges(rooms=[NewRoom(again.name, again.key, again.pair)]))
        assert row.head == expected - 1
        stored = Room.of(row)
        assert pen.append((stored, "x"))[0].seq == expected
        store.release(row.id)


def test_built_index_equals_one_that_was_updated(
    written: Path, open_store: Open, in_thread: threading.Event
) -> None:
    store = open_store()
    store.write(saved(session(1, "ann"), session(2, "bob")))
    pen = Pen(store)
    shuffled = random.Random(7)
    for _ in range(150):
        pen.session = shuffled.choice(("s1", "s2", "guest"))
        pen.write(*((pen.room(shuffled.choice("abcdefgh")), "x") for _ in range(shuffled.randrange(1, 9))))
    while store.trim(keep=200, before=0.0):
        pass
    in_thread.set()
    store.maintain()
    build_ends(store)
    store.close()
    tables = "SELECT * FROM place ORDER BY room, seq", "SELECT * FROM refs ORDER BY session, id"

    def content() -> list[list[Any]]:
        with closing(sqlite3.connect(f"{written}-index")) as other:
            return [
                other.execute(query).fetchall() for query in (*tables, "SELECT id, digest FROM watermark")
            ]

    updated = content()
    remove_index(written)
    store = open_store()
    build_ends(store)
    assert rebuilt(store) == ["missing"]
    store.close()
    assert content() == updated


def test_build_that_is_interrupted_is_begun_again_at_the_next_start(
    written: Path, open_store: Open, in_thread: threading.Event
) -> None:
    remove_index(written)
    store = open_store()
    assert store.index.building
    store.close()
    in_thread.set()
    store = open_store()
    build_ends(store)
    assert rebuilt(store) == ["unfinished"]
    check(store)


def test_build_that_fails_is_tried_again(
    written: Path, open_store: Open, in_thread: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_thread.set()
    remove_index(written)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        patch.setattr(index_build.IndexBuilder, "_merge", fail)
        store = open_store()
        room = rooms_of(store)["a"]
        deadline = time.monotonic() + 60
        said = ""
        while "could not be built" not in said:
            assert time.monotonic() < deadline
            with pytest.raises(StoreUnavailable) as raised:
                store.read(room.id, "a", 0, 9, 9, newest=False)
            said = str(raised.value)
    assert "disk I/O error" in said
    monkeypatch.setattr(index_build, "RETRY_INTERVAL_S", 0.0)
    with suppress(StoreUnavailable):
        store.read(room.id, "a", 0, 9, 9, newest=False)
    build_ends(store)
    check(store)


def test_index_that_breaks_in_use_is_built_again_in_a_thread(
    written: Path, open_store: Open, in_thread: threading.Event
) -> None:
    in_thread.set()
    store = open_store()
    build_ends(store)
    check(store)
    with closing(sqlite3.connect(f"{written}-index", isolation_level=None)) as other:
        other.execute("DROP TABLE place")
    in_thread.clear()
    with pytest.raises(StoreUnavailable):
        events(store, Room("a", "a", id=1))
    in_thread.set()
    build_ends(store)
    assert rebuilt(store)[-1] == "damaged"
    assert len(events(store, Room("a", "a", id=1))) == ROWS


def test_pages_written_for_an_entry_do_not_grow_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the rows, in many rooms, cost ten times the pages."""
    monkeypatch.setattr(index_build, "RUN_ROWS", 2_000)
    monkeypatch.setattr(index_build, "MERGE_ROWS", 2_000)
    monkeypatch.setattr(index_build, "PAUSE_S", 0.0)
    written = []
    for rows in (5_000, 50_000):
        path = tmp_path / f"{rows}.db"
        long_log(path, rows)
        index = index_module.Index(path, "epoch", 0)
        builder = index_build.IndexBuilder(index.path, path, "missing", rows, {}, lambda _: None)
        builder.start()
        builder._thread.join()
        assert builder.failure is None
        written.append(Path(f"{index.path}-wal").stat().st_size / rows)
        with closing(sqlite3.connect(index.path)) as other:
            assert other.execute("SELECT count(*) FROM place").fetchone() == (rows,)
        index.close(0)
    assert written[1] < 1.5 * written[0]


def long_log(path: Path, rows: int) -> None:
    """Make the table of a log with rows of a thousand rooms by turns, straight with SQL."""
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, room, seq, session, ref)")
        log.execute("CREATE TABLE sessions (id)")
        log.execute(
            "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT ?) "
            "INSERT INTO log SELECT i + 1, i * 7919 % 1000, i / 1000, 's', NULL FROM n",
            (rows,),
        )
