import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from chat_protocol import events
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.sentences import event_sentences

SILENT = (events.MessageEvent, events.HistoryPage, events.PingEvent, events.PongEvent)
"""Events without sentences: messages are shown as messages, pings are between programs."""

SPOKEN: list[tuple[events.Event, list[str]]] = [
    (
        events.Welcome(
            protocol=1,
            id="i",
            username="ann",
            resumed=False,
            epoch="e",
            server=events.ServerIdentity("greenroom", "0", "n"),
            rooms=[events.RoomState("lobby", 7, 2), events.RoomState("dev", 1, 1)],
            limits=events.Limits(0, 0, 0, 0, 0, 0, 0, 0),
            ping_interval=30,
        ),
        ["welcome, ann; you are in lobby, dev"],
    ),
    (events.Joined(room="dev", seq=0, count=1), ["you are in dev (1 user here)"]),
    (events.Left(room="dev"), ["you have left dev"]),
    (events.Opened(room="@ann,bob", peer="bob", by="ann", seq=0), ["conversation with bob opened by ann"]),
    (events.Closed(room="@ann,bob", peer="bob", by="bob"), ["conversation with bob closed by bob"]),
    (events.RoomList(rooms=[], more=False), ["no rooms"]),
    (events.RoomList(rooms=[events.RoomState("dev", 7, 2)], more=False), ["dev: 2 users, 7 messages"]),
    (
        events.RoomList(rooms=[events.RoomState("dev", 7, 2)], more=True),
        ["dev: 2 users, 7 messages", "… and more"],
    ),
    (events.UserList(users=[], more=False), ["connected: nobody"]),
    (
        events.UserList(users=[events.User("ann", None, 0), events.User("bob", 1, 0)], more=True, room="dev"),
        ["in dev: ann, bob, … and more"],
    ),
    (
        events.UserList(users=[events.User("ann", 1, 0, 1234), events.User("bob", 1, 0, 1)], more=False),
        ["connected: ann (1,234 messages behind), bob (1 message behind)"],
    ),
    (events.RoomList(rooms=[events.RoomState("dev", 1, 1)], more=False), ["dev: 1 user, 1 message"]),
    (events.ServerList(servers=[events.ServerState("n", "h:1", 3, None)]), ["n at h:1: 3 clients"]),
    (events.ServerList(servers=[events.ServerState("n", "h:1", 1, None)]), ["n at h:1: 1 client"]),
    (
        events.RttReport(username="ann", last_ms=1.25, min_ms=1, p50_ms=1, p99_ms=1, samples=1, tcp_ms=None),
        ["ann: last 1.2 ms, kernel not measured yet"],
    ),
    (events.Renamed(sender="i", old="ann", username="anna"), ["ann is now anna"]),
    (
        events.Presence(room="dev", count=3, joined=["ann", "bob"], left=["eve"]),
        ["ann, bob joined dev (3 users here)", "eve left dev (3 users here)"],
    ),
    (events.Presence(room="dev", count=300), ["300 users in dev"]),
    (events.Error(code=ErrorCode.FORBIDDEN, message="not yours"), ["not yours"]),
    (
        events.Error(code=ErrorCode.RATE_LIMITED, message="slower", retry_after=2.5),
        ["slower (try again in 2.5 s)"],
    ),
    (events.Gap(room="dev", first=3, last=9), ["messages 3 to 9 of dev are no longer available"]),
    (events.Gap(room="dev", first=3, last=3), ["message 3 of dev is no longer available"]),
    (events.Bye(reason=ByeReason.KICKED, message="out"), ["out"]),
    (events.Notice(text="one\ntwo"), ["one", "two"]),
]


@pytest.mark.parametrize(("event", "expected"), SPOKEN, ids=lambda value: type(value).__name__)
def test_event_sentences(event: events.Event, expected: list[str]) -> None:
    assert event_sentences(event) == expected


def test_every_event_has_sentences_or_is_listed_as_silent() -> None:
    spoken = {type(event) for event, _ in SPOKEN}
    assert spoken | set(SILENT) == {*typing.get_args(events.WireEvent), events.Notice}
    assert not spoken & set(SILENT)


@given(st.data())
def test_event_sentences_are_empty_for_silent_events_only(
    any_event: SearchStrategy[events.Event], data: DataObject
) -> None:
    event = data.draw(any_event)
    if isinstance(event, SILENT):
        assert event_sentences(event) == []
    elif not isinstance(event, events.ServerList):
        assert event_sentences(event)


@pytest.mark.parametrize("reason", list(ByeReason))
def test_every_bye_reason_has_a_sentence(reason: ByeReason) -> None:
    [sentence] = event_sentences(events.Bye(reason=reason))
    assert len(sentence) > 5
