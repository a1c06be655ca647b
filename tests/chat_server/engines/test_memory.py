from __future__ import annotations

import tracemalloc

import pytest

from chat_server.core.ports.registry import EndedRoom, NewRoom, RegistryChanges
from chat_server.engines import memory
from chat_server.engines.memory import MemoryEngine
from support.engines.pen import Pen, events


def test_memory_engine_full_room_keeps_newest_messages() -> None:
    engine = MemoryEngine(3)
    pen = Pen(engine)
    messages = pen.say("a", "1", "2", "3", "4", "5")
    assert [event.seq for event in events(engine, pen.room("a"), newest=True)] == [3, 4, 5]
    kept = [engine.find(message.stored_at) is not None for message in messages]
    assert kept == [False, False, True, True, True]
    assert len(engine._places) == 3


def test_memory_engine_new_run_is_empty_with_new_epoch() -> None:
    engine = MemoryEngine(3)
    Pen(engine).say("a", "1")
    engine.close()
    other = MemoryEngine(3)
    assert other.epoch != engine.epoch
    assert not other.public_rooms()


def test_memory_engine_is_bounded_in_bytes_over_all_rooms() -> None:
    # Given messages in many rooms, far more than fit
    engine = MemoryEngine(10_000, max_bytes=1 << 20)
    pen = Pen(engine)
    tracemalloc.start()
    try:
        for number in range(3000):
            pen.say(f"room {number % 500}", f"{number} " + "漢" * (number % 100))
            if number == 1500:
                pen.say("big", "x" * (1 << 21))  # alone over the bound: the very last message stays
                assert len(engine._places) == 1
        taken = sum(
            one.size
            for one in tracemalloc.take_snapshot().statistics("filename")
            if one.traceback[0].filename.endswith("engines/memory.py")
        )
    finally:
        tracemalloc.stop()
    # Then the oldest of all are gone, and the newest are there
    kept = [event for room in pen.rooms.values() for event in events(engine, room)]
    assert 300 < len(kept) == len(engine._places) < 1500
    assert sorted(int(event.message.split()[0]) for event in kept) == [*range(3000 - len(kept), 3000)]
    assert engine._bytes <= 1 << 20
    assert taken < 3 << 20  # with the tables of rooms
    assert engine._messages.keys() == {place[0] for place in engine._places.values()}


def test_memory_engine_forgets_ended_rooms_and_uses_no_seq_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "NAMES_KEPT", 3)
    engine = MemoryEngine(10)
    pen = Pen(engine)
    for number in range(6):
        pen.say(f"room{number}", *"12345678"[: number + 1])
        room = pen.room(f"room{number}")
        engine.write(RegistryChanges(ended_rooms=[EndedRoom(room.id, room.key, room.head)]))
    assert len(engine._ended) == 3
    assert not engine._rooms
    assert not engine._places
    for number in range(6):  # those that are forgotten begin behind the highest of them
        key = f"room{number}"
        head = engine.ended_head(key)
        assert head >= number + 1
        (row,) = engine.write(RegistryChanges(rooms=[NewRoom(key, key)]))
        assert (row.head, engine.ended_head(key)) == (head, 0)


def test_memory_engine_forgets_names_of_conversations_and_uses_none_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "NAMES_KEPT", 3)
    monkeypatch.setattr(memory, "UNUSED_KEPT", 4)
    engine = MemoryEngine(1)
    seen = set()
    identities = iter(range(1, 1000))
    for number in range(60):
        pair = next(identities), next(identities)
        name = f"@a{number % 5},b"
        (row,) = engine.write(RegistryChanges(rooms=[NewRoom(name, name, pair)]))
        assert row.name not in seen
        seen.add(row.name)
        engine.release(row.id)
    assert len(engine._name_uses) == 3
    assert len(engine._rooms) == 4
    assert len(engine._room_ids) == 8
    assert not engine._heads
