"""The tails of all rooms: bounded in bytes together, whatever is said in how many rooms."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.core.delivery import room as room_module
from chat_server.core.delivery.room import TAIL_BYTES, Room
from chat_server.core.delivery.tails import MESSAGE_OVERHEAD_BYTES, NON_ASCII_BYTES, Tails

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def counted(room: Room) -> int:
    """Return the bytes that the messages of a tail count for."""
    return sum(
        len(one.message) * (1 if one.message.isascii() else NON_ASCII_BYTES) + MESSAGE_OVERHEAD_BYTES
        for one in room.tail
    )


def check(stage: Stage) -> Tails:
    found = stage.hub._tails
    rooms = [*stage.hub.rooms.values(), *(one.room for one in stage.hub.conversations.by_pair.values())]
    assert found.total_bytes == sum(counted(room) for room in rooms)
    assert {*found.queue} == {room for room in rooms if room.tail is not room_module._NO_TAIL}
    assert not room_module._NO_TAIL
    assert not room_module._NO_NAMES
    return found


def say(stage: Stage, peer: Peer, room: str, text: str = "x") -> None:
    peer.send_message(text, room=room)
    stage.commit()


def test_tails_that_were_not_written_for_longest_are_dropped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a bound of four messages of this length
    monkeypatch.setattr(stage.hub._tails, "max_bytes", 4 * (100 + MESSAGE_OVERHEAD_BYTES))
    ann = stage.enter("ann", "a", "b", "c")
    for room in ("a", "a", "b", "c", "a", "c"):
        say(stage, ann, room, "x" * 100)
    # Then the tail of the room that was written least recently is gone
    assert {key: len(room.tail) for key, room in stage.hub.rooms.items()} == {"a": 0, "b": 0, "c": 2}
    assert check(stage).total_bytes <= stage.hub._tails.max_bytes
    # And its messages are read from the store
    for room, count in {"a": 3, "b": 1, "c": 2}.items():
        ann.receive()
        ann.execute(commands.History(room=room))
        assert len(ann.receive_one("history")["messages"]) == count
    stage.check()


def test_bytes_are_given_back_whatever_happens_to_a_tail(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a", "b"), stage.enter("bob", "a")
    for number in range(600):
        ann.send_message("x" * (number % 50) + "é" * (number % 3), room="ab"[number % 2])
        if number % 7 == 0:
            ann.send_message("psst", to="bob")
        if number % 40 == 0:
            stage.commit()
    stage.commit()
    assert check(stage).total_bytes > 0
    while trimmed := stage.store.trim(keep=100, before=0.0):  # retention
        stage.hub.trim_tails(trimmed)
    check(stage)
    ann.execute(commands.Leave(room="a"))
    bob.execute(commands.Leave(room="a"))
    check(stage)
    bob.execute(commands.Close(peer="ann"))
    check(stage)
    ann.disconnect()
    bob.disconnect()
    assert check(stage).total_bytes == 0


def test_tail_that_retention_has_emptied_is_dropped_like_another(stage: Stage) -> None:
    ann = stage.enter("ann", "a", "b")
    say(stage, ann, "a")
    say(stage, ann, "b")
    stage.hub.trim_tails({stage.hub.rooms["a"].id: 1})
    stage.hub._tails.max_bytes = 0
    say(stage, ann, "b")
    assert check(stage).total_bytes == 0
    assert not stage.hub._tails.queue


@pytest.mark.parametrize("char", ["x", "é", "\N{CJK UNIFIED IDEOGRAPH-6F22}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("length", [1, 500])
def test_messages_take_no_more_memory_than_is_counted(stage: Stage, char: str, length: int) -> None:
    """Whatever the script; and a tail has never more than its bound."""
    ann = stage.enter("ann", "a")
    room = stage.hub.rooms["a"]
    tracemalloc.start()
    try:
        for number in range(400):
            ref = char * 58 + f"{number:06}"
            ann.send_message(char * length + str(number), room="a", ref=ref)
        stage.commit()
        assert 0 < counted(room) <= TAIL_BYTES
        stage.stored.clear()
        ann.outbox.data = b""
        ann.session.refs = None
        stage.store._messages.clear()
        stage.store._places.clear()
        stage.store.batches.clear()
        total = stage.hub._tails.total_bytes
        before = tracemalloc.get_traced_memory()[0]
        room.drop_tail()
        freed = before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 100 * 100 < freed <= total
