"""The contract of the port `Log`, for every engine."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from chat_server.core.ports.log import ConversationRow, Origin, StoreUnavailable, ref_key
from chat_server.core.ports.registry import RegistryChanges, SessionRecord
from support.engines.kinds import REFUSED, Kind, SetClock, of_fallible, of_survivors
from support.engines.pen import Pen, Room, Written, events, keyed, saved, session, texts

Open = Callable[[], Any]
batches = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), min_size=1, max_size=15)
ranges = st.tuples(st.integers(0, 40), st.integers(0, 42), st.integers(1, 30), st.booleans())


# Appending


def test_seqs_of_each_room_have_no_gap(engine: Any) -> None:
    pen = Pen(engine)
    a, b = pen.room("a"), pen.room("b")
    messages = pen.write((a, "one"), (b, "eins"), (a, "two"))
    messages += pen.write((b, "zwei"))
    messages += pen.write((a, "three"))
    assert [message.seq for message in messages] == [1, 1, 2, 2, 3]
    assert len({message.stored_at for message in messages}) == 5
    assert texts(engine, a) == ["one", "two", "three"]
    assert texts(engine, b) == ["eins", "zwei"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(batches=batches, ranges=st.lists(ranges, min_size=1, max_size=8))
def test_read_of_any_range_equals_list_model(
    kind: Kind, batches: list[list[str]], ranges: list[tuple[int, int, int, bool]]
) -> None:
    clock = SetClock()
    with tempfile.TemporaryDirectory() as folder, closing(kind.open(Path(folder) / "db", clock)) as engine:
        pen = Pen(engine)
        model = defaultdict(list)
        for number, batch in enumerate(batches):
            clock.now += 1
            for written in pen.write(*((pen.room(name), f"{number}") for name in batch)):
                model[written.room].append(written.event)
                assert engine.find(written.stored_at) == written.event
                assert written.event.timestamp == clock.now
            after, before, limit, newest = ranges[number % len(ranges)]
            for room, log in model.items():
                wanted = [event for event in log if after < event.seq < before]
                wanted = wanted[-limit:] if newest else wanted[:limit]
                found = engine.read(room.id, room.name, after, before, limit, newest=newest)
                assert found == wanted


def test_messages_of_a_batch_have_one_time_of_the_engine(engine: Any, clock: SetClock) -> None:
    pen = Pen(engine)
    pen.register(pen.room("a"), pen.room("b"))
    clock.now = 1.7e9 + 0.123_456_78
    messages = pen.append((pen.room("a"), "one"), (pen.room("b"), "eins"), (pen.room("a"), "two"))
    found = [*events(engine, pen.room("a")), *events(engine, pen.room("b"))]
    assert {event.timestamp for event in found} == {1.7e9 + 0.123_457}
    assert {message.event.timestamp for message in messages} == {1.7e9 + 0.123_457}


def test_message_is_read_as_it_was_appended(engine: Any) -> None:
    pen = Pen(engine)
    pen.register(pen.room("a"))
    for origin in Origin:
        pen.origin = origin
        text = "h\u00e9llo\n\t\x00\U0001f600"
        written = pen.append((pen.room("a"), text), (pen.room("a"), text), refs=["r\u00e9f", None])
        assert [engine.find(one.stored_at) for one in written] == [one.event for one in written]
        assert events(engine, pen.room("a"))[-2:] == [one.event for one in written]


def test_rows_are_not_changed(engine: Any) -> None:
    pen = Pen(engine)
    pen.register(pen.room("a"))
    rows, states = pen.rows((pen.room("a"), "one"), (pen.room("a"), "two")), [ConversationRow(1, 7)]
    copies = [structs.replace(row) for row in rows], [structs.replace(state) for state in states]
    engine.append(rows, states)
    assert (rows, states) == copies
    appended = engine.append(rows)  # what the caller does to the answer changes nothing, either
    appended.bases[pen.room("a").id] = 99
    assert engine.append(rows).bases == {pen.room("a").id: 4}


def test_empty_append_changes_nothing(engine: Any, clock: SetClock) -> None:
    pen = Pen(engine)
    pen.say("a", "one")
    appended = engine.append([])
    assert (appended.timestamp, appended.bases, list(appended.stored_at)) == (clock.now, {}, [])
    (message,) = pen.say("a", "two")
    assert message.seq == 2
    assert texts(engine, pen.room("a")) == ["one", "two"]


def test_message_of_an_unknown_room_stores_nothing_of_the_batch(engine: Any) -> None:
    pen = Pen(engine)
    (first,) = pen.say("a", "one")
    room, unknown = pen.room("a"), Room("b", "b", id=99)
    with pytest.raises(KeyError):
        engine.append(pen.rows((room, "two"), (unknown, "eins"), (room, "three")))
    assert texts(engine, room) == ["one"]
    (second,) = pen.say("a", "two")
    assert second.seq == 2
    assert engine.find(first.stored_at) == first.event


@of_fallible
def test_batch_that_fails_in_the_middle_stores_nothing(kind: Kind, engine: Any) -> None:
    assert kind.refuse
    pen = Pen(engine)
    a, b = pen.room("a"), pen.room("b")
    pen.write((a, "one"), (b, "eins"))
    said = (a, "two"), (b, "zwei"), (a, REFUSED), (b, "drei")
    with kind.refuse(engine):
        for batch in (said, said, said[2:3]):
            with pytest.raises(StoreUnavailable, match="refused"):
                engine.append(pen.rows(*batch))
            assert (texts(engine, a), texts(engine, b)) == (["one"], ["eins"])
        pen.append((a, "between"))
    messages = pen.append(*said)
    assert [message.seq for message in messages] == [3, 2, 4, 3]
    assert texts(engine, a) == ["one", "between", "two", REFUSED]
    assert texts(engine, b) == ["eins", "zwei", "drei"]


def test_clock_set_back_keeps_order_of_seqs(engine: Any, clock: SetClock) -> None:
    pen = Pen(engine)
    for at in (1.7e9, 1.6e9, 0.0, 1.65e9):
        clock.now = at
        pen.write((pen.room("a"), f"{at:g}"), (pen.room("b"), f"{at:g}"))
    said = ["1.7e+09", "1.6e+09", "0", "1.65e+09"]
    assert [(event.seq, event.message, event.timestamp) for event in events(engine, pen.room("a"))] == [
        (seq, text, float(text)) for seq, text in enumerate(said, 1)
    ]
    a, b = pen.room("a").id, pen.room("b").id
    assert engine.trim(keep=0, before=1.65e9) == {}
    assert engine.trim(keep=3, before=0.0) == {a: 1, b: 1}
    assert engine.trim(keep=0, before=1.65e9) == {a: 3, b: 3}
    assert texts(engine, pen.room("a")) == texts(engine, pen.room("b")) == ["1.65e+09"]


def test_released_room_gets_no_message_and_keeps_those_it_has(engine: Any) -> None:
    pen = Pen(engine)
    room = pen.conversation("@ann,bob", (1, 2))
    (message,) = pen.write((room, "psst"))
    pen.say("a", "one")
    for _ in range(2):  # no harm in doing it twice
        engine.release(room.id)
    with pytest.raises(KeyError):
        engine.append(pen.rows((pen.room("a"), "two"), (room, "psst")))
    assert texts(engine, room) == ["psst"]
    assert engine.find(message.stored_at) == message.event
    assert [one.seq for one in pen.say("a", "two")] == [2]


# Reading


def test_read_of_unknown_room_is_empty(engine: Any) -> None:
    for room in (0, 99):
        assert engine.read(room, "x", 0, 10, 10, newest=True) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    said=st.lists(st.text("a\u00e9\U0001f600", min_size=1, max_size=12), min_size=1, max_size=12),
    size=st.integers(0, 150),
    limit=st.integers(1, 15),
    newest=st.booleans(),
)
def test_read_stops_at_size_in_bytes(
    engine: Any, said: list[str], size: int, limit: int, *, newest: bool
) -> None:
    pen = Pen(engine)
    room = pen.conversation("@x,y", (engine.new_identity(), engine.new_identity()))
    pen.write(*((room, text) for text in said))
    taken: list[str] = []
    total = 0
    for text in reversed(said) if newest else said:
        if len(taken) == limit or total > size:
            break
        taken.append(text)
        total += len(text.encode())
    found = engine.read(room.id, room.name, 0, 10**6, limit, newest=newest, size=size)
    assert [event.message for event in found] == (taken[::-1] if newest else taken)


def test_find_of_a_deleted_message_is_none(engine: Any) -> None:
    pen = Pen(engine)
    old, new = pen.say("a", "one", "two")
    assert engine.trim(keep=1, before=0.0) == {pen.room("a").id: 1}
    assert engine.find(old.stored_at) is None
    assert engine.find(new.stored_at) == new.event


# The next start


def test_epoch_is_kept_with_the_messages(kind: Kind, open_engine: Open) -> None:
    epoch = open_engine().epoch
    assert epoch
    again = open_engine()
    assert (again.epoch == epoch) is kind.survives
    assert not again.epoch_changed


@of_survivors
def test_messages_and_heads_are_read_at_the_next_start(open_engine: Open) -> None:
    pen = Pen(open_engine())
    pen.write((pen.room("a"), "one"), (pen.room("b"), "eins"), (pen.room("a"), "two"))
    conversation = pen.conversation("@ann,bob", (1, 2))
    pen.write((conversation, "psst"))
    engine = open_engine()
    b, a = engine.public_rooms()  # by their last messages
    assert [(room.name, room.head) for room in (a, b)] == [("a", 2), ("b", 1)]
    assert (texts(engine, a), texts(engine, b)) == (["one", "two"], ["eins"])
    (stored,) = engine.conversations_of([1])
    assert stored.room.head == 1
    pen = Pen(engine)
    rooms = [Room.of(room) for room in (a, b, stored.room)]
    assert [one.seq for one in pen.append(*((room, "next") for room in rooms))] == [3, 2, 2]
    assert texts(engine, stored.room) == ["psst", "next"]


@of_survivors
def test_seqs_are_not_reused_after_deletion_and_restart(open_engine: Open) -> None:
    pen = Pen(open_engine())
    conversation = pen.conversation("@ann,bob", (1, 2))
    pen.say("a", "1", "2", "3")
    pen.write((conversation, "1"), (conversation, "2"))
    pen.say("b", "the last of all")
    while pen.engine.trim(keep=0, before=2e9):
        pass
    for _ in range(2):
        engine = open_engine()
        assert {room.name: room.head for room in engine.public_rooms()} == {"a": 3, "b": 1}
        assert [one.room.head for one in engine.conversations_of([1])] == [2]
    assert [one.seq for one in Pen(engine).say("a", "4")] == [4]


# Refs


def ref_writer(engine: Any) -> Callable[..., list[Written]]:
    """Return a function that writes messages with refs in one batch."""
    pen = Pen(engine)
    pen.register(pen.room("a"))

    def write(author: str, *refs: str | None) -> list[Written]:
        pen.session = author
        return pen.append(*((pen.room("a"), "hi") for _ in refs), refs=refs)

    return write


def test_refs_of_resumable_sessions_are_found_at_once(engine: Any) -> None:
    engine.write(saved(session(1, "ann"), session(2, "bob")))
    write = ref_writer(engine)
    one, _, two = write("s1", "a", None, "b")
    (other,) = write("s2", "a")
    write("a guest's", "a")
    assert engine.refs("s1", 9) == keyed({"a": one.stored_at, "b": two.stored_at})
    (three,) = write("s1", "c")
    found = engine.refs("s1", 9)
    assert [*found.items()] == [
        *keyed({"a": one.stored_at, "b": two.stored_at, "c": three.stored_at}).items()
    ]
    assert [engine.find(stored_at) for stored_at in found.values()] == [one.event, two.event, three.event]
    assert engine.refs("s2", 9) == keyed({"a": other.stored_at})
    assert engine.refs("a guest's", 9) == engine.refs("nobody", 9) == {}


@of_survivors
def test_refs_of_resumable_sessions_are_found_after_restart(open_engine: Open) -> None:
    engine = open_engine()
    engine.write(saved(session(1, "ann")))
    one, two = ref_writer(engine)("s1", "a", "b")
    engine = open_engine()
    assert [*engine.refs("s1", 9).items()] == [*keyed({"a": one.stored_at, "b": two.stored_at}).items()]


def test_refs_beyond_limit_are_the_newest(engine: Any) -> None:
    engine.write(saved(session(1, "ann")))
    stored = [one.stored_at for one in ref_writer(engine)("s1", *"abcdea")]
    assert [*engine.refs("s1", 3).items()] == [*keyed(dict(zip("dea", stored[3:], strict=True))).items()]
    newest = keyed(dict(zip("bcdea", stored[1:], strict=True)))  # of "a" the last one
    assert [*engine.refs("s1", 9).items()] == [*newest.items()]


def test_refs_of_messages_that_are_deleted_are_still_known(engine: Any) -> None:
    engine.write(saved(session(1, "ann")))
    one, _ = ref_writer(engine)("s1", "a", "b")
    while engine.trim(keep=1, before=0.0):
        pass
    assert engine.refs("s1", 9)[ref_key("a")] == one.stored_at
    assert engine.find(one.stored_at) is None


def test_new_session_has_no_refs_of_an_ended_one(engine: Any) -> None:
    engine.write(saved(session(1, "ann")))
    ref_writer(engine)("s1", "a")
    engine.write(RegistryChanges(ended_sessions=["s1"]))
    assert engine.resumable_sessions() == []
    engine.write(RegistryChanges(sessions=[SessionRecord("s2", 1, "ann", b"another")]))
    assert engine.refs("s2", 9) == {}


# States of conversations


def read_states(engine: Any, *identities: int) -> dict[str, tuple[int | None, int | None]]:
    return {one.room.name: (one.since, one.closed_by) for one in engine.conversations_of(set(identities))}


@of_survivors
def test_state_of_a_conversation_is_the_last_one(open_engine: Open) -> None:
    pen = Pen(open_engine())
    room, other = pen.conversation("@ann,bob", (1, 2)), pen.conversation("@ann,cat", (1, 3))
    pen.register(room, other)
    for state, expected in (
        (None, (None, None)),
        (ConversationRow(room.id, 0), (0, None)),
        (ConversationRow(room.id, 7), (7, None)),
        (ConversationRow(room.id, 7, 2), (7, 2)),
        (ConversationRow(room.id, None, 2), (None, 2)),
        (ConversationRow(room.id, None), (None, None)),
    ):
        # With a message and without, and several of one room in a batch
        states = [ConversationRow(other.id, n) for n in (0, None, 1)]
        if state is None:
            pen.append(states=states)
        else:
            pen.append((other, "hi"), states=[*states, state])
        pen.engine = open_engine()
        assert read_states(pen.engine, 1) == {"@ann,bob": expected, "@ann,cat": (1, None)}


@of_survivors
def test_state_is_stored_with_the_messages_or_not_at_all(kind: Kind, engine: Any) -> None:
    assert kind.refuse
    pen = Pen(engine)
    room = pen.conversation("@ann,bob", (1, 2))
    pen.write((room, "hi"))
    pen.append(states=[ConversationRow(room.id, 0)])
    with kind.refuse(engine), pytest.raises(StoreUnavailable, match="refused"):
        engine.append(pen.rows((room, "ho"), (room, REFUSED)), [ConversationRow(room.id, 1, 2)])
    assert read_states(engine, 1) == {"@ann,bob": (0, None)}
    assert texts(engine, room) == ["hi"]
    pen.append((room, "ho"), states=[ConversationRow(room.id, 1, 2)])
    assert read_states(engine, 1) == {"@ann,bob": (1, 2)}


@of_survivors
def test_conversation_without_resumable_users_is_closed(engine: Any) -> None:
    pen = Pen(engine)
    rooms = {pair: pen.conversation("@x,y", pair) for pair in ((1, 2), (2, 3), (3, 4))}
    pen.register(*rooms.values())
    pen.append(states=[ConversationRow(room.id, 0) for room in rooms.values()])
    assert read_states(engine, 1) == {"@x,y": (0, None)}
    open_ones = [one.room.pair for one in engine.conversations_of({1, 2, 3, 4}) if one.since is not None]
    assert open_ones == [(1, 2)]
