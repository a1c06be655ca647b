"""The index is never believed: what it has wrong is repaired from the log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, RegistryChanges
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, events, texts
from support.engines.two_rooms import ROWS, check, rebuilt, rooms_of, write_two_rooms

Open = Callable[..., SqliteEngine]


@pytest.fixture
def written(open_store: Open, path: Path) -> Path:
    """A data file with messages of two rooms by turns: the text of seq N in room a is `aN`."""
    write_two_rooms(open_store())
    return path


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)


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
