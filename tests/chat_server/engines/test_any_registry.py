"""The contract of the port `Registry`, for every engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import (
    IdentityRecord,
    NewRoom,
    RegistryChanges,
    SessionRecord,
    StoredRoom,
)
from support.engines.kinds import REFUSED, Kind, of_fallible, of_survivors
from support.engines.pen import Pen, events, saved, session, texts

Open = Callable[[], Any]


def read_sessions(engine: Any) -> list[tuple[str, int, str, bytes]]:
    return [(one.id, one.identity, one.name, one.secret_hash) for one in engine.resumable_sessions()]


def side_names(engine: Any, identity: int) -> list[tuple[str, str]]:
    return [one.names for one in engine.conversations_of([identity])]


# Rooms


def test_rooms_are_returned_in_their_order_as_they_are_stored(engine: Any) -> None:
    new = [NewRoom("Garden", "garden"), NewRoom("@Ann,bob", "@ann,bob", (1, 2)), NewRoom("lobby", "lobby")]
    stored = engine.write(RegistryChanges(rooms=new))
    ids = [room.id for room in stored]
    assert stored == [
        StoredRoom(room_id, room.name, room.key, room.pair, 0) for room_id, room in zip(ids, new, strict=True)
    ]
    (more,) = engine.write(RegistryChanges(rooms=[NewRoom("a", "a")]))
    assert len({*ids, more.id}) == 4
    assert min(*ids, more.id) > 0


def test_room_that_is_stored_already_is_returned_as_it_is(engine: Any) -> None:
    # Given rooms of which one has messages, and one was released
    pen = Pen(engine)
    garden = pen.room("Garden")
    pair = pen.conversation("@ann,bob", (1, 2))
    other = pen.conversation("@ann,bob", (1, 3))
    pen.register(garden, pair, other)
    engine.append(pen.rows((garden, "one"), (garden, "two")))
    engine.release(other.id)
    # When they are written again, with another one
    again = [
        NewRoom("GARDEN", "garden"),
        NewRoom("@ann,bob", "@ann,bob", (1, 2)),
        NewRoom("@ann,bob", "@ann,bob", (1, 3)),
        NewRoom("new", "new"),
    ]
    stored = engine.write(RegistryChanges(rooms=again))
    # Then they are the same, and go on where they were
    assert stored[:3] == [
        StoredRoom(garden.id, "Garden", "garden", None, 2),
        StoredRoom(pair.id, "@ann,bob", "@ann,bob", (1, 2), 0),
        StoredRoom(other.id, "@ann,bob#2", "@ann,bob#2", (1, 3), 0),
    ]
    assert stored[3].id not in {room.id for room in stored[:3]}
    appended = engine.append(pen.rows((garden, "three"), (other, "first")))
    assert appended.bases.keys() == {garden.id, other.id}
    assert texts(engine, garden) == ["one", "two", "three"]


def test_write_of_no_changes_stores_nothing(engine: Any) -> None:
    assert engine.write(RegistryChanges()) == []
    assert engine.resumable_sessions() == []
    assert engine.public_rooms() == []


def test_changes_are_not_changed(engine: Any) -> None:
    changes = saved(session(1, "ann"))
    changes.renamed_sessions.append(session(1, "anna"))
    changes.ended_sessions.append("s1")
    changes.rooms += [NewRoom("@ann,bob", "@ann,bob", (1, other)) for other in (2, 3)]
    written = copy.deepcopy(changes)
    assert [room.name for room in engine.write(changes)] == ["@ann,bob", "@ann,bob#2"]
    assert changes == written


def test_conversations_of_the_same_names_get_numbers(engine: Any) -> None:
    pen = Pen(engine)
    others = [engine.new_identity() for _ in range(24)]
    rooms = [pen.conversation("@Ann,bob", (pen.identity, other)) for other in others]
    for room in rooms[:12]:
        pen.write((room, "hi"))
    pen.write(*((room, "hi") for room in rooms[12:]))  # in one call, too
    near = [pen.conversation(name, (1000, 1001 + n)) for n, name in enumerate(("@ann,bobby", "@ann,bo"))]
    pen.write(*((room, "hi") for room in near))
    shown = [room.name for room in rooms]
    assert shown == ["@Ann,bob", *(f"@Ann,bob#{number}" for number in range(2, 25))]
    assert [room.key for room in rooms] == [name.lower() for name in shown]
    assert [room.name for room in near] == ["@ann,bobby", "@ann,bo"]
    assert all(texts(engine, room) == ["hi"] for room in rooms)
    (event,) = events(engine, rooms[1])
    assert event.room == "@Ann,bob#2"
    assert not any(row.name.startswith("@") for row in engine.public_rooms())


@of_survivors
def test_public_rooms_are_read_at_the_next_start(open_engine: Open) -> None:
    engine = open_engine()
    assert engine.public_rooms() == []
    new = [NewRoom("Garden", "garden"), NewRoom("@ann,bob", "@ann,bob", (1, 2)), NewRoom("lobby", "lobby")]
    stored = engine.write(RegistryChanges(rooms=new))
    engine = open_engine()
    assert engine.public_rooms() == [stored[0], stored[2]]
    (more,) = engine.write(RegistryChanges(rooms=[NewRoom("@ann,bob", "@ann,bob", (3, 4))]))
    assert more.id not in {room.id for room in stored}
    assert more.name == "@ann,bob#2"


# Identities and sessions


def test_new_identity_never_repeats(engine: Any) -> None:
    given_out = [engine.new_identity() for _ in range(100)]
    assert len(set(given_out)) == 100
    assert min(given_out) > 0


@of_survivors
def test_stored_identity_is_not_given_out_again(open_engine: Open) -> None:
    engine = open_engine()
    one, other = engine.new_identity(), engine.new_identity()
    engine.write(RegistryChanges(identities=[IdentityRecord(other, "bob"), IdentityRecord(one, "ann")]))
    assert open_engine().new_identity() not in {one, other}


@of_survivors
def test_identity_that_is_stored_stays_as_it_is(engine: Any) -> None:
    engine.write(RegistryChanges(identities=[IdentityRecord(1, "ann"), IdentityRecord(2, "bob")]))
    rooms = [NewRoom("@ann,bob", "@ann,bob", (1, 2))]
    engine.write(RegistryChanges(identities=[IdentityRecord(1, "another")], rooms=rooms))
    assert side_names(engine, 1) == [("ann", "bob")]


@of_survivors
def test_sessions_are_read_with_last_names_until_ended(open_engine: Open) -> None:
    ann, bob, cat = session(1, "ann"), session(2, "bob"), session(3, "cat")
    engine = open_engine()
    assert engine.resumable_sessions() == []
    engine.write(saved(ann, bob, cat))
    engine.write(
        RegistryChanges(renamed_sessions=[session(1, "anna"), session(1, "ann-marie")], ended_sessions=["s2"])
    )
    engine = open_engine()
    assert read_sessions(engine) == [
        ("s1", 1, "ann-marie", ann.secret_hash),
        ("s3", 3, "cat", cat.secret_hash),
    ]
    assert engine.new_identity() == 4
    engine.write(RegistryChanges(ended_sessions=["s1", "s3", "nobody"]))
    assert open_engine().resumable_sessions() == []


@of_survivors
def test_session_saved_renamed_and_ended_in_one_write_is_gone(engine: Any) -> None:
    changes = saved(session(1, "ann"), session(2, "bob"))
    changes.renamed_sessions.append(session(2, "bobby"))
    changes.ended_sessions.append("s1")
    engine.write(changes)
    assert [(one.id, one.name) for one in engine.resumable_sessions()] == [("s2", "bobby")]


# Conversations


@of_survivors
def test_conversations_of_an_identity_are_all_read_at_the_next_start(open_engine: Open) -> None:
    users = {1: "ann", 2: "bob", 3: "cat", 4: "dan"}
    pen = Pen(open_engine())
    pen.engine.write(RegistryChanges(identities=[IdentityRecord(*one) for one in users.items()]))
    for (low, high), count in {(1, 2): 3, (2, 3): 1, (3, 4): 1, (1, 4): 2}.items():
        room = pen.conversation(f"@{users[low]},{users[high]}", (low, high))
        for number in range(count):
            pen.write((room, str(number)))
    pen.say("lobby", "everybody")
    pen.engine.write(RegistryChanges(renamed_sessions=[SessionRecord("s2", 2, "bobby", b"")]))

    engine = open_engine()
    found = {one.room.pair: one for one in engine.conversations_of([1])}
    assert found.keys() == {(1, 2), (1, 4)}
    one = found[1, 2]
    assert (one.room.name, one.room.key, one.room.head) == ("@ann,bob", "@ann,bob", 3)
    assert one.names == ("ann", "bobby")
    assert (one.since, one.closed_by) == (None, None)
    assert texts(engine, one.room) == ["0", "1", "2"]
    assert {one.room.pair for one in engine.conversations_of([2, 3, 99])} == {(1, 2), (2, 3), (3, 4)}
    assert engine.conversations_of([]) == []


# Writes that fail


@of_survivors
@pytest.mark.parametrize("what", ["session", "room"])
def test_write_that_fails_in_the_middle_stores_nothing(kind: Kind, open_engine: Open, what: str) -> None:
    """It can be written again, as often as it takes."""
    assert kind.refuse
    engine = open_engine()
    engine.write(saved(session(1, "ann"), session(2, "bob")))
    engine.write(RegistryChanges(rooms=[NewRoom("@ann,bob", "@ann,bob", (1, 2))]))
    cat = session(3, REFUSED if what == "session" else "cat")
    garden = REFUSED if what == "room" else "garden"
    changes = saved(cat)
    changes.renamed_sessions.append(session(2, "bobby"))
    changes.ended_sessions.append("s1")
    changes.rooms += [
        NewRoom("lobby", "lobby"),
        NewRoom("@ann,bob", "@ann,bob", (3, 4)),
        NewRoom(garden, garden),
        NewRoom("@ann,bob", "@ann,bob", (3, 5)),
    ]
    with kind.refuse(engine):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="refused"):
                engine.write(changes)
    engine = open_engine()
    assert [one.name for one in engine.resumable_sessions()] == ["ann", "bob"]
    assert side_names(engine, 2) == [("ann", "bob")]
    assert engine.public_rooms() == engine.conversations_of([3]) == []
    stored = engine.write(changes)
    assert [room.name for room in stored] == ["lobby", "@ann,bob#2", garden, "@ann,bob#3"]
    engine = open_engine()
    assert [one.name for one in engine.resumable_sessions()] == ["bobby", cat.name]
    assert engine.public_rooms() == [stored[0], stored[2]]
    assert [one.room for one in engine.conversations_of([3])] == [stored[1], stored[3]]


@of_fallible
def test_rooms_of_a_failed_write_get_no_messages(kind: Kind, engine: Any) -> None:
    assert kind.refuse
    pen = Pen(engine)
    pen.say("a", "one")
    with kind.refuse(engine), pytest.raises(StoreUnavailable):
        engine.write(RegistryChanges(rooms=[NewRoom("b", "b"), NewRoom(REFUSED, REFUSED)]))
    assert [one.seq for one in pen.say("b", "eins")] == [1]
    assert [one.seq for one in pen.say("a", "two")] == [2]
