"""Catch-up: when it is complete, and its count, for events in any order."""

import itertools

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_client.connection.catch_up import MAX_QUERIED_ROOMS, CatchUp
from chat_client.connection.session import ClientSession
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Event, Gap, HistoryPage, RoomState
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from support.fakes.fake_server import make_message, make_welcome


def resumed(*rooms: RoomState) -> tuple[ClientSession, CatchUp]:
    session = ClientSession("ann", [], resumable=True, client="test")
    session.apply_welcome(make_welcome(*rooms, resumed=True))
    numbers = itertools.count()
    return session, CatchUp(session, lambda: f"ref-{next(numbers)}")


@st.composite
def interleavings(
    draw: st.DrawFn,
) -> tuple[list[RoomState], dict[str, int], dict[str, int], list[tuple[str, str]]]:
    """Rooms, missing messages of each, how many of them are deleted, and an order of events and answers."""
    count = draw(st.integers(1, 4))
    rooms = [RoomState(f"room-{number}", draw(st.integers(0, 5)), 1) for number in range(count)]
    lacks = {room.room: draw(st.integers(0, 4)) for room in rooms}
    gone = {name: draw(st.integers(0, lack)) for name, lack in lacks.items()}
    live = {room.room: draw(st.integers(0, 2)) for room in rooms}
    steps = [("answer", room.room) for room in rooms]
    for name, lack in lacks.items():
        messages = lack - gone[name] + live[name]
        steps += [("stream", name)] * (messages + (1 if gone[name] else 0))
    return rooms, lacks, gone, draw(st.permutations(steps))


@settings(deadline=None, max_examples=300)
@given(interleavings())
def test_catch_up_is_complete_at_every_head_and_counts_messages(
    case: tuple[list[RoomState], dict[str, int], dict[str, int], list[tuple[str, str]]],
) -> None:
    rooms, lacks, gone, steps = case
    began = {room.room: room.seq for room in rooms}
    heads = {name: began[name] + lack for name, lack in lacks.items()}
    session, catch_up = resumed(*rooms)
    refs = {question.room: question.ref for question in catch_up.queries}
    answered = set()
    for step, name in steps:
        seq = session.rooms[name].seq
        event: Event
        if step == "answer":
            page = [make_message(heads[name], name)] if heads[name] else []
            event = HistoryPage(room=name, messages=page, more=False, ref=refs[name])
            assert catch_up.handle_answer(event)
            answered.add(name)
        else:
            event = make_message(seq + 1, name)
            if seq == began[name] and gone[name]:
                event = Gap(room=name, first=seq + 1, last=seq + gone[name])
            assert session.apply_event(event)
            catch_up.observe(event)
        there = all(session.rooms[one].seq >= heads[one] for one in heads)
        assert catch_up.complete == (there and len(answered) == len(rooms))
        if catch_up.complete:
            assert catch_up.count == sum(lacks.values()) - sum(gone.values())


def test_catch_up_query_answered_by_an_error_is_complete() -> None:
    _, catch_up = resumed(RoomState("r", 0, 1))
    assert not catch_up.complete
    assert not catch_up.handle_answer(Error(code=ErrorCode.UNAVAILABLE, message="not now", ref="other"))
    assert catch_up.handle_answer(
        Error(code=ErrorCode.UNAVAILABLE, message="not now", ref=catch_up.queries[0].ref)
    )
    assert catch_up.complete


def test_catch_up_queries_at_most_100_rooms() -> None:
    _, catch_up = resumed(*(RoomState(f"r{number}", 0, 1) for number in range(300)))
    assert len(catch_up.queries) == MAX_QUERIED_ROOMS


def test_hello_with_very_many_conversations_fits_a_frame() -> None:
    wide = "\U00010400" * 31
    conversations = [RoomState(f"@{wide}a,{wide}{number}", 2**61, 2, wide) for number in range(1000)]
    rooms = [RoomState(f"{wide}{number}", 2**61, 1) for number in range(50)]
    session, _ = resumed(*conversations, *rooms)
    hello = session.hello()
    assert len(encode(hello)) <= MAX_FRAME_BYTES
    assert hello.resume is not None
    assert set(hello.resume.rooms) > {room.room for room in rooms}


def test_session_ignores_messages_it_has_seen() -> None:
    session, _ = resumed(RoomState("r", 3, 1))
    assert [session.apply_event(make_message(seq, "r")) for seq in (3, 4, 4, 2, 5)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    # A welcome with an earlier position does not set the session back.
    session.apply_welcome(msgspec.structs.replace(make_welcome(RoomState("r", 4, 1)), resumed=True))
    assert session.rooms["r"].seq == 5
