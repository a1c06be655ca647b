"""The index is never believed: what it has wrong is repaired; a long log is indexed in a thread."""

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
from chat_server.engines.engine import IndexRebuilt
from chat_server.engines.sqlite import index as index_module
from chat_server.engines.sqlite import index_build, reader
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, Room, events, saved, session, texts

Open = Callable[..., SqliteEngine]
ROWS = 300


@pytest.fixture
def written(open_store: Open, path: Path) -> Path:
    """A data file with messages of two rooms by turns: the text of seq N in room a is `aN`."""
    store = open_store()
    pen = Pen(store)
    for number in range(1, ROWS + 1):
        pen.write((pen.room("a"), f"a{number}"), (pen.room("b"), f"b{number}"))
    store.maintain()
    store.close()
    return path


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)


def rooms_of(store: SqliteEngine) -> dict[str, Room]:
    return {row.name: Room.of(row) for row in store.public_rooms()}


def rebuilt(store: SqliteEngine) -> list[str]:
    return [one.reason for one in store.take_notices() if isinstance(one, IndexRebuilt)]


def check(store: SqliteEngine) -> None:
    """Check that everything is read as it was written, in both directions, and nothing is called lost."""
    for name, room in rooms_of(store).items():
        assert room.head == ROWS
        for newest in (False, True):
            assert [(one.seq, one.message) for one in events(store, room, newest=newest)] == [
                (seq, f"{name}{seq}") for seq in range(1, ROWS + 1)
            ]
    assert store.unreadable_messages == 0


WRONG = {
    "row of another room": "UPDATE place SET id = (SELECT id FROM place WHERE room = 2 AND seq = 9) "
    "WHERE room = 1 AND seq = 20",
    "row of another seq": "UPDATE place SET id = id + 2 WHERE room = 1 AND seq = 20",
    "row that is none": "UPDATE place SET id = 99999 WHERE room = 1 AND seq = 20",
    "first entry missing": "DELETE FROM place WHERE room = 1 AND seq = 1",
    "last entry missing": f"DELETE FROM place WHERE room = 1 AND seq = {ROWS}",
    "entry missing": "DELETE FROM place WHERE room = 1 AND seq = 20",
    "many missing": "DELETE FROM place WHERE room = 1 AND seq % 3",
    "a room missing": "DELETE FROM place WHERE room = 1",
    "all wrong": "UPDATE place SET id = id - 1",
    "seq too high": "UPDATE place SET seq = 5000 WHERE room = 1 AND seq = 20",
    "seq below": "UPDATE place SET seq = -3 WHERE room = 1 AND seq = 20",
    "another type": "UPDATE place SET id = 'x' WHERE room = 1 AND seq = 20",
    "watermark too low": "UPDATE watermark SET id = 100",
    "watermark too high": "UPDATE watermark SET id = 100000",
    "watermark negative": "UPDATE watermark SET id = -1",
    "watermark of no type": "UPDATE watermark SET id = x'00'",
}


@pytest.mark.parametrize("statement", WRONG.values(), ids=WRONG)
def test_index_that_is_wrong_at_the_start_is_built_again(
    written: Path, open_store: Open, statement: str
) -> None:
    alter(written, statement)
    store = open_store()
    assert rebuilt(store) == ["damaged"]
    check(store)
    store.close()
    assert rebuilt(open_store()) == []


@pytest.mark.parametrize(
    "statement", [value for value in WRONG.values() if "place" in value and "'x'" not in value]
)
@pytest.mark.parametrize("turn", [1, -1], ids=["in order", "from the end"])
def test_entries_that_become_wrong_in_use_are_repaired_one_by_one(
    written: Path, open_store: Open, statement: str, turn: int
) -> None:
    store = open_store()
    rooms = rooms_of(store)
    alter(written, statement)
    for _ in range(2):
        for seq in range(1, ROWS + 1, 7)[::turn]:
            for name, room in rooms.items():
                found = store.read(room.id, name, seq - 1, seq + 7, 7, newest=turn < 0)
                assert [one.message for one in found] == [
                    f"{name}{each}" for each in range(seq, min(seq + 7, ROWS + 1))
                ]
    assert store.unreadable_messages == 0
    assert rebuilt(store) == []
    store.close()
    store = open_store()  # what was repaired is not trusted any longer than that
    assert rebuilt(store) in (["repaired"], ["damaged"])
    check(store)


def test_repair_searches_between_the_neighbours_only(
    written: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    alter(written, "DELETE FROM place WHERE room = 1 AND seq IN (20, 21)")
    searched: list[tuple[int, int]] = []
    reindex = store.index._reindex

    def note(room: int, first: int, last: int, lower: int, upper: int) -> None:
        searched.append((lower, upper))
        reindex(room, first, last, lower, upper)

    monkeypatch.setattr(store.index, "_reindex", note)
    room = rooms_of(store)["a"]
    for _ in range(2):
        assert [one.seq for one in store.read(room.id, "a", 18, 25, 9, newest=False)] == [*range(19, 25)]
    assert searched == [(37, 42)]  # the ids of seqs 19 and 22, without the end


def test_messages_that_the_log_lacks_are_searched_for_once(
    written: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    with closing(sqlite3.connect(written, isolation_level=None)) as other:
        other.execute("DELETE FROM log WHERE room = 1 AND seq BETWEEN 50 AND 250")
    repairs: list[int] = []
    repair = store.index.repair

    def note(room: int, first: int, last: int, last_id: int) -> None:
        repairs.append(first)
        repair(room, first, last, last_id)

    monkeypatch.setattr(store.index, "repair", note)
    room = rooms_of(store)["a"]
    assert len(texts(store, room)) == ROWS - 201
    count = len(repairs)
    for newest in (False, True):
        assert [one.seq for one in events(store, room, newest=newest)] == [
            *range(1, 50),
            *range(251, ROWS + 1),
        ]
    assert len(repairs) == count
    assert store.unreadable_messages == 201


def test_private_message_is_not_shown_in_a_room_whatever_the_index_says(
    written: Path, open_store: Open
) -> None:
    store = open_store()
    pen = Pen(store)
    (secret,) = pen.write((pen.conversation("@ann,bob", (1, 2)), "SECRET"))
    store.maintain()
    for seq in range(1, ROWS + 1, 10):
        alter(written, f"UPDATE place SET id = {secret.stored_at} WHERE room = 1 AND seq = {seq}")
    assert "SECRET" not in texts(store, rooms_of(store)["a"])
    check_room = rooms_of(store)["a"]
    assert len(texts(store, check_room)) == ROWS


def test_trim_deletes_no_message_because_the_index_says_so(written: Path, open_store: Open) -> None:
    store = open_store()
    pen = Pen(store)
    (secret,) = pen.write((pen.conversation("@ann,bob", (1, 2)), "keep me"))
    store.maintain()
    alter(
        written,
        f"UPDATE place SET id = {secret.stored_at} WHERE room = 1 AND seq = 3",
        "DELETE FROM place WHERE room = 1 AND seq = 5",
    )
    while store.trim(keep=ROWS - 10, before=0.0):
        pass
    assert store.find(secret.stored_at) == secret.event
    with closing(sqlite3.connect(written)) as other:
        assert other.execute("SELECT min(seq), count(*) FROM log WHERE room = 1").fetchone() == (
            11,
            ROWS - 10,
        )


def test_index_in_which_no_head_is_found_is_built_again(written: Path, open_store: Open) -> None:
    """The event loop, which may not wait, leaves that to the upkeep."""
    store = open_store()
    pen = Pen(store)
    room = pen.conversation("@ann,bob", (1, 2))
    pen.write((room, "one"))
    store.maintain()
    store.release(room.id)
    alter(written, "DROP TABLE place")
    again = RegistryChanges(rooms=[NewRoom("@ann,bob", "@ann,bob", (1, 2))])
    with pytest.raises(StoreUnavailable):
        store.write(again)
    assert rebuilt(store) == []
    store.maintain()
    assert rebuilt(store) == ["damaged"]
    assert store.write(again)[0].head == 1


# In a thread


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
    alter(written, "DROP TABLE place")
    with pytest.raises(StoreUnavailable):
        events(store, Room("a", "a", id=1))
    build_ends(store)
    assert rebuilt(store)[-1] == "damaged"
    assert len(events(store, Room("a", "a", id=1))) == ROWS
