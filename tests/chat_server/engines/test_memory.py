from __future__ import annotations

from typing import TYPE_CHECKING

from chat_server.engines.memory import MemoryStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen


def test_memory_store_full_room_keeps_newest_messages(make_pen: type[Pen]) -> None:
    store = MemoryStore(3)
    pen = make_pen(store)
    messages = pen.say("a", "1", "2", "3", "4", "5")
    room = pen.room("a").record
    kept = [event.seq for event in store.read(room, 0, 9, 9, newest=True)]
    assert kept == [3, 4, 5]
    assert [store.find_message(message.id) is not None for message in messages] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert len(store._places) == 3


def test_memory_store_new_run_is_empty_with_new_epoch(make_pen: type[Pen]) -> None:
    store = MemoryStore(3)
    make_pen(store).say("a", "1")
    store.close()
    other = MemoryStore(3)
    assert other.epoch != store.epoch
    assert not list(other.public_rooms())
