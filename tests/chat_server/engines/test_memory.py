from __future__ import annotations

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
