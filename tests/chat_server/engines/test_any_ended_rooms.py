"""Public rooms that have ended, for every engine: nobody reads their messages, and their seqs go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import EndedRoom, NewRoom, RegistryChanges
from support.engines.kinds import REFUSED, Kind, of_fallible, of_survivors
from support.engines.pen import Pen, Room, keyed, saved, session, texts

Open = Callable[[], Any]


def end(engine: Any, *rooms: Room) -> None:
    engine.write(RegistryChanges(ended_rooms=[EndedRoom(room.id, room.key, room.head) for room in rooms]))


def again(engine: Any, name: str) -> Room:
    """Return a room that is stored under a name."""
    (row,) = engine.write(RegistryChanges(rooms=[NewRoom(name, name.lower())]))
    return Room.of(row)


def purge(engine: Any) -> None:
    for _ in range(100):
        if not engine.trim(keep=0, before=0.0):
            return
    pytest.fail("trim never ends")


@pytest.fixture(autouse=True)
def _small_steps(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    kind.take_small_steps(monkeypatch)


def test_messages_of_an_ended_room_can_neither_be_read_nor_found(engine: Any) -> None:
    pen = Pen(engine)
    engine.write(saved(session(1, "ann")))
    pen.session = "s1"
    written = pen.say("a", *"12345")
    kept = pen.say("b", "1")
    end(engine, pen.room("a"))
    assert texts(engine, pen.room("a")) == []
    assert [engine.find(one.stored_at) for one in written] == [None] * 5
    assert engine.find(kept[0].stored_at) == kept[0].event
    assert engine.refs("s1", 9) == keyed({"ref 0": kept[0].stored_at})  # a repeat is recognised all the same
    with pytest.raises(KeyError):
        engine.append(pen.rows((pen.room("b"), "2"), (pen.room("a"), "6")))
    assert texts(engine, pen.room("b")) == ["1"]


@pytest.mark.parametrize("purged", [False, True])
def test_room_of_the_name_of_an_ended_one_goes_on_at_the_next_seq(engine: Any, *, purged: bool) -> None:
    pen = Pen(engine)
    pen.say("Garden", *(str(number) for number in range(25)))
    pen.say("b", "the last of all")
    assert engine.ended_head("garden") == 0
    end(engine, pen.room("Garden"))
    assert engine.ended_head("garden") == 25
    assert engine.ended_head("b") == engine.ended_head("nothing") == 0
    if purged:
        purge(engine)
    room = again(engine, "GARDEN")
    assert (room.name, room.head) == ("GARDEN", 25)
    assert engine.ended_head("garden") == 0
    (message,) = pen.append((room, "new"))
    assert message.seq == 26
    purge(engine)
    assert texts(engine, room) == ["new"]
    assert engine.find(message.stored_at) == message.event
    assert [event.seq for event in engine.read(room.id, "GARDEN", 0, 99, 9, newest=False)] == [26]
    end(engine, room)
    assert engine.ended_head("garden") == 26


def test_ended_and_made_again_in_one_write(engine: Any) -> None:
    """It happens if the store has failed for a while: ends come first, in whatever order they were queued."""
    pen = Pen(engine)
    pen.say("a", "1", "2")
    a = pen.room("a")
    changes = RegistryChanges(rooms=[NewRoom("a", "a")], ended_rooms=[EndedRoom(a.id, "a", 2)])
    (row,) = engine.write(changes)
    assert row.head == 2
    assert texts(engine, a) == texts(engine, row) == []
    assert [one.seq for one in pen.append((Room.of(row), "3"))] == [3]
    assert texts(engine, row) == ["3"]


def test_no_seq_is_used_again_although_the_caller_knows_less(engine: Any) -> None:
    pen = Pen(engine)
    pen.say("a", "1", "2", "3")
    engine.write(RegistryChanges(ended_rooms=[EndedRoom(pen.room("a").id, "a", 1)]))
    assert engine.ended_head("a") == 3
    assert texts(engine, pen.room("a")) == []


def test_end_of_an_unknown_room_changes_nothing(engine: Any) -> None:
    pen = Pen(engine)
    pen.say("a", "1")
    conversation = pen.conversation("@ann,bob", (1, 2))
    pen.write((conversation, "psst"))
    engine.write(RegistryChanges(ended_rooms=[EndedRoom(99, "b", 7)]))
    assert texts(engine, pen.room("a")) == ["1"]
    assert texts(engine, conversation) == ["psst"]


def test_messages_of_ended_rooms_are_deleted_in_steps(engine: Any) -> None:
    pen = Pen(engine)
    rooms = [pen.room(f"room {number}") for number in range(5)]
    for room in rooms:
        pen.write(*((room, str(number)) for number in range(7)))
    pen.say("b", "kept")
    end(engine, *rooms)
    stored = {one.stored_at for one in pen.say("b", "the last of all")}
    purge(engine)
    if engine.kind == "sqlite":
        ids = [row for (row,) in engine._connection.execute("SELECT id FROM log")]
        assert len(ids) == 2
        assert stored <= {*ids}
        assert not engine._hidden
        places = engine._loop_reader._connection.execute("SELECT count(*) FROM place").fetchone()
        assert places == (2,)
    else:
        assert len(engine._places) == 2
    assert texts(engine, pen.room("b")) == ["kept", "the last of all"]


@of_survivors
def test_last_message_of_the_log_stays_until_another_one_is_written(engine: Any) -> None:
    pen = Pen(engine)
    pen.say("a", "1", "2")
    end(engine, pen.room("a"))
    purge(engine)
    count = "SELECT count(*) FROM log"
    assert engine._connection.execute(count).fetchone() == (1,)  # the next id depends on it
    pen.say("b", "1")
    purge(engine)
    assert engine._connection.execute(count).fetchone() == (1,)
    assert not engine._hidden


@of_survivors
@pytest.mark.parametrize("purged", [False, True])
def test_ended_rooms_stay_ended_after_a_restart(open_engine: Open, *, purged: bool) -> None:
    engine = open_engine()
    pen = Pen(engine)
    for name in "abc":
        pen.say(name, *"12345")
    pen.say("z", "the last of all")
    a, b, c = (pen.room(name) for name in "abc")
    end(engine, a, b, c)
    engine = open_engine()
    again_b = again(engine, "b")
    assert again_b.head == 5
    if purged:
        purge(engine)
    engine = open_engine()
    assert {(row.name, row.head, row.trimmed) for row in engine.public_rooms()} == {("b", 5, 5), ("z", 1, 0)}
    assert texts(engine, a) == texts(engine, b) == texts(engine, c) == []
    assert engine.ended_head("a") == 5
    (row,) = [row for row in engine.public_rooms() if row.name == "b"]
    pen = Pen(engine)
    assert [one.seq for one in pen.append((Room.of(row), "6"))] == [6]
    purge(engine)
    assert texts(engine, row) == ["6"]
    engine = open_engine()
    assert {(row.name, row.head, row.trimmed) for row in engine.public_rooms()} == {("b", 6, 5), ("z", 1, 0)}


@of_survivors
def test_rooms_are_read_by_their_last_messages(open_engine: Open) -> None:
    pen = Pen(open_engine())
    pen.register(*(pen.room(name) for name in "abcd"))
    for name in ("c", "a", "b", "a"):
        pen.say(name, "hi")
    assert [row.name for row in open_engine().public_rooms()] == ["d", "c", "b", "a"]


@of_fallible
def test_write_that_fails_ends_no_room(kind: Kind, engine: Any) -> None:
    assert kind.refuse
    pen = Pen(engine)
    pen.say("a", "1")
    a = pen.room("a")
    changes = RegistryChanges(ended_rooms=[EndedRoom(a.id, "a", 1)], rooms=[NewRoom(REFUSED, REFUSED)])
    with kind.refuse(engine), pytest.raises(StoreUnavailable):
        engine.write(changes)
    assert texts(engine, a) == ["1"]
    assert [one.seq for one in pen.append((a, "2"))] == [2]


# Conversations by name


def test_conversation_is_found_by_its_name(engine: Any) -> None:
    pen = Pen(engine)
    one, other = pen.conversation("@Ann,bob", (1, 2)), pen.conversation("@Ann,bob", (1, 3))
    pen.write((one, "psst"), (one, "psst"))
    pen.write((other, "hi"))
    pen.say("garden", "hi")
    for room in (one, other):
        found = engine.conversation_named(room.key)
        assert (found.id, found.name, found.pair, found.head) == (room.id, room.name, room.pair, room.head)
        engine.release(room.id)
        assert engine.conversation_named(room.key).head == room.head
    assert engine.conversation_named("@ann") is engine.conversation_named("garden") is None
