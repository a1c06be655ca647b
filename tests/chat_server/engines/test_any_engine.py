"""Behaviour of every engine."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_server.core.delivery.publisher import message_event
from chat_server.core.ports.records import RoomRecord
from chat_server.engines.memory import MemoryStore
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen

Texts = Callable[..., list[str]]
batches = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), min_size=1, max_size=15)
ranges = st.tuples(st.integers(0, 40), st.integers(0, 42), st.integers(1, 30), st.booleans())


def test_seqs_of_each_room_have_no_gap(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    pen = make_pen(store)
    a, b = pen.room("a"), pen.room("b")
    messages = pen.write((a, "one"), (b, "eins"), (a, "two"))
    messages += pen.write((b, "zwei"))
    messages += pen.write((a, "three"))
    assert [message.seq for message in messages] == [1, 1, 2, 2, 3]
    assert len({message.id for message in messages}) == 5
    assert (a.record.seq, b.record.seq) == (3, 2)
    assert read_texts(store, a) == ["one", "two", "three"]
    assert read_texts(store, b) == ["eins", "zwei"]
    assert not a.record.queued


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(deadline=None, max_examples=30)
@given(batches=batches, ranges=st.lists(ranges, min_size=1, max_size=8))
def test_read_of_any_range_equals_list_model(
    kind: str, make_pen: type[Pen], batches: list[list[str]], ranges: list[tuple[int, int, int, bool]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inline = lambda function, *args: function(*args)  # noqa: E731
        store: Any = (
            MemoryStore(10_000)
            if kind == "memory"
            else SqliteStore(Path(folder) / "db", full_sync=False, offload=inline, read_offload=inline)
        )
        with closing(store):
            pen = make_pen(store)
            model = defaultdict(list)
            for number, batch in enumerate(batches):
                said = pen.batch(*((pen.room(name), f"{number}") for name in batch))
                store.append(said)
                for message in said.messages:
                    model[message.room.name].append(message_event(message, said.timestamp))
                after, before, limit, newest = ranges[number % len(ranges)]
                for name, log in model.items():
                    wanted = [event for event in log if after < event.seq < before]
                    wanted = wanted[-limit:] if newest else wanted[:limit]
                    record = pen.room(name).record
                    assert store.read(record, after, before, limit, newest=newest) == wanted


def test_find_message_returns_message_by_log_row(store: Any, make_pen: type[Pen]) -> None:
    pen = make_pen(store)
    batch = pen.batch((pen.room("a"), "one"), (pen.room("b"), "two"))
    store.append(batch)
    for message in batch.messages:
        assert store.find_message(message.id) == (
            message.room.record.id,
            message_event(message, batch.timestamp),
        )
    assert store.find_message(99) is None


def test_read_of_unknown_room_is_empty(store: Any) -> None:
    assert store.read(RoomRecord("x", "x"), 0, 10, 10, newest=True) == []


def test_new_identity_never_repeats(store: Any) -> None:
    given_out = [store.new_identity() for _ in range(100)]
    assert len(set(given_out)) == 100
    assert min(given_out) > 0


def test_conversations_of_the_same_names_get_numbers(
    store: Any, make_pen: type[Pen], read_texts: Texts
) -> None:
    pen = make_pen(store)
    others = [store.new_identity() for _ in range(24)]
    rooms = [pen.conversation("@Ann,bob", (pen.author.identity, other)) for other in others]
    for room in rooms[:12]:
        pen.write((room, "hi"))
    pen.write(*((room, "hi") for room in rooms[12:]))  # in one batch, too
    near = [pen.conversation(name, (1000, 1001 + n)) for n, name in enumerate(("@ann,bobby", "@ann,bo"))]
    pen.write(*((room, "hi") for room in near))
    shown = [room.record.name for room in rooms]
    assert shown == ["@Ann,bob", *(f"@Ann,bob#{number}" for number in range(2, 25))]
    assert [room.record.key for room in rooms] == [name.lower() for name in shown]
    assert [room.record.name for room in near] == ["@ann,bobby", "@ann,bo"]
    assert all(read_texts(store, room) == ["hi"] for room in rooms)
    (event,) = store.read(rooms[1].record, 0, 9, 9, newest=True)
    assert event.room == "@Ann,bob#2"
    assert not any(record.name.startswith("@") for record in store.public_rooms())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    said=st.lists(st.text("aé\U0001f600", min_size=1, max_size=12), min_size=1, max_size=12),
    size=st.integers(0, 150),
    limit=st.integers(1, 15),
    newest=st.booleans(),
)
def test_read_stops_at_size_in_bytes(
    store: Any, make_pen: type[Pen], said: list[str], size: int, limit: int, *, newest: bool
) -> None:
    pen = make_pen(store)
    room = pen.conversation("@x,y", (store.new_identity(), store.new_identity()))
    pen.write(*((room, text) for text in said))
    taken: list[str] = []
    total = 0
    for text in reversed(said) if newest else said:
        if len(taken) == limit or total > size:
            break
        taken.append(text)
        total += len(text.encode())
    found = store.read(room.record, 0, 10**6, limit, newest=newest, size=size)
    assert [event.message for event in found] == (taken[::-1] if newest else taken)


def test_clock_set_back_keeps_order_of_seqs(store: Any, make_pen: type[Pen], read_texts: Texts) -> None:
    pen = make_pen(store)
    for at in (1.7e9, 1.6e9, 0.0, 1.65e9):
        batch = pen.batch((pen.room("a"), f"{at:g}"), (pen.room("b"), f"{at:g}"))
        batch.timestamp = at
        store.append(batch)
    said = ["1.7e+09", "1.6e+09", "0", "1.65e+09"]
    events = store.read(pen.room("a").record, 0, 9, 9, newest=True)
    assert [(event.seq, event.message, event.timestamp) for event in events] == [
        (seq, text, float(text)) for seq, text in enumerate(said, 1)
    ]
    assert store.trim(keep=0, before=1.65e9) == {}
    assert store.trim(keep=3, before=0.0) == {1: 1, 2: 1}
    assert store.trim(keep=0, before=1.65e9) == {1: 3, 2: 3}
    assert read_texts(store, pen.room("a")) == read_texts(store, pen.room("b")) == ["1.65e+09"]
