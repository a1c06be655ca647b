from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.dialects.base import MAX_ENCODINGS, Encoding
from chat_protocol.dialects.ndjson import NDJSON
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_protocol.events import MessageEvent, Presence
from chat_server.core.delivery.room import TAIL_BYTES, TAIL_MESSAGES, Room, delivered_to
from chat_server.core.ports.registry import NewRoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.core_stage.stage import Stage


def events(first: int, count: int, *, size: int = 10) -> list[MessageEvent]:
    return [
        MessageEvent(
            room="r", seq=seq, sender="s", username="ann", message="x" * size, timestamp=60.0, origin="client"
        )
        for seq in range(first, first + count)
    ]


def room_of(stage: Stage, *encodings: Encoding) -> Room:
    room = Room(NewRoom("r", "r"), stage.hub._fan_out, stage.hub.backfill.fall_behind)
    for encoding in encodings:
        room.add_member(stage.connect(encoding).session)
    return room


def test_room_members_of_an_encoding_get_identical_bytes(stage: Stage) -> None:
    encodings = (NDJSON, TWO_FIELD, PLAIN_TEXT)
    room = Room(NewRoom("r", "r"), stage.hub._fan_out, stage.hub.backfill.fall_behind)
    peers = [stage.connect(encoding) for encoding in encodings * 2]
    for peer in peers:
        room.add_member(peer.session)
    said = events(1, 3)
    deliveries, sent = room.publish(said)
    for peer, encoding in zip(peers, encodings * 2, strict=True):
        assert peer.outbox.data == encoding.encode_messages(said)
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
    assert room.delivered_to(room.members[ann.session], NDJSON) == (2, len(ann.outbox.data))
    assert delivered_to(ann.session) == (2, len(ann.outbox.data))
    room.remove_member(ann.session)
    room.publish(events(6, 1))
    assert delivered_to(ann.session) == (2, len(ann.outbox.data))
    room.add_member(ann.session)
    room.publish(events(7, 1))
    assert delivered_to(ann.session) == (3, len(ann.outbox.data))


def test_room_broadcast_reaches_encodings_that_express_it(stage: Stage) -> None:
    room = Room(NewRoom("r", "r"), stage.hub._fan_out, stage.hub.backfill.fall_behind)
    unable = Encoding("unable", lambda _: b"", NDJSON.encode_messages)
    native, mute, framed = (stage.connect(each) for each in (NDJSON, unable, unable.framed(bytes.upper)))
    for peer in (native, mute, framed):
        room.add_member(peer.session)
    presence = Presence(room="r", count=2)
    room.broadcast(presence)
    assert native.receive_one("presence")["count"] == 2
    assert not mute.outbox.data
    assert not framed.outbox.data


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


class CountingFrame:
    """A layer's frame that counts what it frames."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark
        self.framed = 0

    def __call__(self, chunk: bytes) -> bytes:
        self.framed += 1
        return self.mark + chunk


def counting_encoding() -> tuple[Encoding, list[int]]:
    """Return an encoding with the bytes of NDJSON, and the sizes of the batches that it has encoded."""
    encoded: list[int] = []

    def encode_messages(events: Sequence[MessageEvent]) -> bytes:
        encoded.append(len(events))
        return NDJSON.encode_messages(events)

    return Encoding("counted", NDJSON.encode, encode_messages), encoded


def test_room_encodes_a_batch_once_for_all_framed_encodings_of_a_base(stage: Stage) -> None:
    # Given members that came in turn, with one encoding in several frames
    base, encoded = counting_encoding()
    frames = [CountingFrame(b"<"), CountingFrame(b">")]
    encodings = [base, PLAIN_TEXT, base.framed(frames[0]), TWO_FIELD, base.framed(frames[1]), base]
    room = Room(NewRoom("r", "r"), stage.hub._fan_out, stage.hub.backfill.fall_behind)
    peers = [stage.connect(encoding) for encoding in encodings]
    for peer in peers:
        room.add_member(peer.session)
    # When a batch is published
    said = events(1, 3)
    _, sent = room.publish(said)
    # Then it is encoded once and framed once for each
    assert encoded == [3]
    assert [frame.framed for frame in frames] == [1, 1]
    plain = NDJSON.encode_messages(said)
    received = [bytes(peer.outbox.data) for peer in peers]
    assert received[0] == received[5] == plain
    assert (received[2], received[4]) == (b"<" + plain, b">" + plain)
    assert sent == sum(map(len, received))


def test_room_counts_framed_bytes(stage: Stage) -> None:
    framed = NDJSON.framed(lambda chunk: b"<<" + chunk)
    room = room_of(stage, NDJSON, framed)
    room.publish(events(1, 2))
    late = stage.connect(framed)
    room.add_member(late.session)
    room.publish(events(3, 2))
    assert room.delivered_to(room.members[late.session], framed) == (2, len(late.outbox.data))


def test_room_splits_a_long_batch_for_a_framed_encoding(stage: Stage) -> None:
    frame = CountingFrame(b"")
    peer = stage.connect(NDJSON.framed(frame))
    room = room_of(stage)
    room.add_member(peer.session)
    room.publish(events(1, 30, size=4000))
    assert frame.framed == 2
    assert peer.outbox.data == NDJSON.encode_messages(events(1, 30, size=4000))


def test_room_rejects_more_encodings_than_a_batch_may_be_framed_for(stage: Stage) -> None:
    room = room_of(stage, *(NDJSON.framed(CountingFrame(b"")) for _ in range(MAX_ENCODINGS)))
    with pytest.raises(AssertionError):
        room.add_member(stage.connect(PLAIN_TEXT).session)
