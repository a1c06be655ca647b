from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.dialects.base import NDJSON, PLAIN_TEXT, TWO_FIELD
from chat_protocol.dialects.table import ENCODERS
from chat_protocol.events import MessageEvent, Presence
from chat_server.core.delivery.room import TAIL_BYTES, TAIL_MESSAGES, Room
from chat_server.core.ports.records import RoomRecord

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def events(first: int, count: int, *, size: int = 10) -> list[MessageEvent]:
    return [
        MessageEvent(
            room="r", seq=seq, sender="s", username="ann", message="x" * size, timestamp=60.0, origin="client"
        )
        for seq in range(first, first + count)
    ]


def room_of(stage: Stage, *dialects: int) -> Room:
    room = Room(RoomRecord("r", "r"), stage.hub._fan_out, stage.hub.backfill)
    for dialect in dialects:
        room.add_member(stage.connect(dialect).session)
    return room


def test_room_members_of_a_dialect_get_identical_bytes(stage: Stage) -> None:
    dialects = (NDJSON, TWO_FIELD, PLAIN_TEXT)
    room = Room(RoomRecord("r", "r"), stage.hub._fan_out, stage.hub.backfill)
    peers = [stage.connect(dialect) for dialect in dialects * 2]
    for peer in peers:
        room.add_member(peer.session)
    said = events(1, 3)
    deliveries, sent = room.publish(said)
    for peer, dialect in zip(peers, dialects * 2, strict=True):
        assert peer.outbox.data == ENCODERS[dialect].encode_messages(said)
    assert deliveries == 18
    assert sent == sum(len(peer.outbox.data) for peer in peers)


def test_room_member_gets_messages_after_the_head(stage: Stage) -> None:
    room = room_of(stage, NDJSON)
    room.publish(events(1, 3))
    late = stage.connect()
    room.add_member(late.session)
    assert not late.outbox.data
    room.publish(events(4, 2))
    assert [frame["seq"] for frame in late.frames] == [4, 5]
    room.remove_member(late.session)
    room.publish(events(6, 1))
    assert len(late.frames) == 2
    assert room.head == 6


def test_room_delivered_to_counts_since_going_live(stage: Stage) -> None:
    room = room_of(stage, NDJSON, PLAIN_TEXT)
    room.publish(events(1, 3))
    ann = stage.connect()
    room.add_member(ann.session)
    room.publish(events(4, 2))
    assert room.delivered_to(ann.session) == (2, len(ann.outbox.data))
    assert ann.session.delivered() == (2, len(ann.outbox.data))
    room.remove_member(ann.session)
    room.publish(events(6, 1))
    assert ann.session.delivered() == (2, len(ann.outbox.data))
    room.add_member(ann.session)
    room.publish(events(7, 1))
    assert ann.session.delivered() == (3, len(ann.outbox.data))


def test_room_broadcast_reaches_dialects_that_encode_it(stage: Stage) -> None:
    room = Room(RoomRecord("r", "r"), stage.hub._fan_out, stage.hub.backfill)
    native, plain = stage.connect(), stage.connect(PLAIN_TEXT)
    for peer in (native, plain):
        room.add_member(peer.session)
    assert room.dialects_present() == [True, False, True]
    presence = Presence(room="r", count=2)
    room.broadcast([ENCODERS[NDJSON].encode(presence), b"", b""])
    assert native.receive_one("presence")["count"] == 2
    assert not plain.outbox.data


def test_room_without_members_keeps_no_tail(stage: Stage) -> None:
    room = room_of(stage, NDJSON)
    room.publish(events(1, 3))
    (member,) = room.members
    room.remove_member(member)
    assert not room.tail
    room.publish(events(4, 1))  # to nobody
    assert room.read_tail(0, 5, 10, newest=False) is None
    assert room.read_tail(4, 5, 10, newest=False) == []
    room.add_member(member)
    room.publish(events(5, 1))
    assert room.read_tail(4, 6, 10, newest=False) == events(5, 1)
    assert room.read_tail(3, 6, 10, newest=False) is None


def test_room_tail_is_bounded_by_number_and_size(stage: Stage) -> None:
    room = room_of(stage, NDJSON)
    for first in range(1, 1001, 100):
        room.publish(events(first, 100))
    assert len(room.tail) <= TAIL_MESSAGES
    assert room.tail[-1].seq == 1000
    for seq in range(1001, 1021):
        room.publish(events(seq, 1, size=8000))
        assert sum(len(event.message) for event in room.tail) <= TAIL_BYTES
    assert room.tail[-1].seq == 1020
    assert len(room.tail) > 5


@settings(deadline=None, max_examples=150)
@given(
    history=st.integers(0, 600),
    after=st.integers(0, 620),
    before=st.integers(0, 620),
    limit=st.integers(1, 500),
    newest=st.booleans(),
)
def test_room_read_tail_returns_what_the_log_has(
    make_stage: type[Stage], history: int, after: int, before: int, limit: int, *, newest: bool
) -> None:
    stage = make_stage()
    room = room_of(stage, NDJSON)
    log = events(1, history)
    for start in range(0, history, 50):
        room.publish(log[start : start + 50])
    before = min(before, room.head + 1)
    if after + 1 >= before:  # as `commands.rooms.read` asks
        return
    found = room.read_tail(after, before, limit, newest=newest)
    wanted = [event for event in log if after < event.seq < before]
    wanted = wanted[-limit:] if newest else wanted[:limit]
    if found is not None:
        assert found == wanted
    else:
        assert wanted[0].seq < room.tail[0].seq
