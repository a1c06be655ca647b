import json
import typing
from types import NoneType
from typing import Any

import msgspec
import pytest

from chat_protocol import events
from chat_protocol.dialects.ndjson import encode
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import Event
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES

HI = events.MessageEvent(
    room="lobby", seq=7, sender="u1", username="ann", message="hi", timestamp=1.5, origin="client"
)
HI_WIRE = {
    "type": "message",
    "room": "lobby",
    "seq": 7,
    "from": "u1",
    "username": "ann",
    "message": "hi",
    "timestamp": 1.5,
    "origin": "client",
}
LIMITS = {
    "frame_bytes": 65536,
    "message_bytes": 8192,
    "rooms": 100,
    "conversations": 100,
    "messages_per_second": 10.0,
    "message_burst": 50,
    "bytes_per_second": 0.0,
    "byte_burst": 0,
}
WIRE: list[tuple[Event, dict[str, Any]]] = [
    (
        events.Welcome(
            protocol=1,
            id="u1",
            username="ann",
            resumed=False,
            epoch="e",
            server=events.ServerIdentity("greenroom", "0.1", "n1"),
            rooms=[events.RoomState("lobby", 6, 2), events.RoomState("@ann,bob", 3, 2, "bob")],
            limits=events.Limits(65536, 8192, 100, 100, 10.0, 50, 0.0, 0),
            ping_interval=30.0,
        ),
        {
            "type": "welcome",
            "protocol": 1,
            "id": "u1",
            "username": "ann",
            "resumed": False,
            "epoch": "e",
            "server": {"name": "greenroom", "version": "0.1", "node": "n1"},
            "rooms": [
                {"room": "lobby", "seq": 6, "count": 2},
                {"room": "@ann,bob", "seq": 3, "count": 2, "with": "bob"},
            ],
            "limits": LIMITS,
            "ping_interval": 30.0,
        },
    ),
    (HI, HI_WIRE),
    (
        events.MessageEvent(
            ref="r",
            room="a",
            seq=1,
            sender="u",
            username="a",
            message="m",
            timestamp=0.0,
            origin="server",
            again=True,
        ),
        {
            "type": "message",
            "ref": "r",
            "room": "a",
            "seq": 1,
            "from": "u",
            "username": "a",
            "message": "m",
            "timestamp": 0.0,
            "origin": "server",
            "again": True,
        },
    ),
    (events.Joined(room="a", seq=0, count=1), {"type": "joined", "room": "a", "seq": 0, "count": 1}),
    (events.Left(room="a", ref="r"), {"type": "left", "room": "a", "ref": "r"}),
    (
        events.Opened(room="@a,b", peer="b", by="a", seq=0),
        {"type": "opened", "room": "@a,b", "with": "b", "by": "a", "seq": 0},
    ),
    (
        events.Closed(room="@a,b", peer="b", by="a"),
        {"type": "closed", "room": "@a,b", "with": "b", "by": "a"},
    ),
    (
        events.RoomList(rooms=[events.RoomState("a", 0, 1)], more=True, after="a"),
        {"type": "rooms", "rooms": [{"room": "a", "seq": 0, "count": 1}], "more": True, "after": "a"},
    ),
    (
        events.UserList(users=[events.User("a", None, 1.0)], more=False),
        {"type": "who", "users": [{"username": "a", "rtt_ms": None, "since": 1.0}], "more": False},
    ),
    (
        events.UserList(users=[events.User("a", 2.5, 1.0, behind=1234)], more=False),
        {
            "type": "who",
            "users": [{"username": "a", "rtt_ms": 2.5, "since": 1.0, "behind": 1234}],
            "more": False,
        },
    ),
    (
        events.ServerList(servers=[events.ServerState("n", "h:1", 2, 0.5)]),
        {"type": "servers", "servers": [{"node": "n", "address": "h:1", "clients": 2, "rtt_ms": 0.5}]},
    ),
    (
        events.HistoryPage(room="lobby", messages=[HI], more=False),
        {"type": "history", "room": "lobby", "messages": [HI_WIRE], "more": False},
    ),
    (
        events.RttReport(
            username="a", last_ms=None, min_ms=0.1, p50_ms=0.2, p99_ms=0.3, samples=4, tcp_ms=0.5
        ),
        {
            "type": "rtt",
            "username": "a",
            "last_ms": None,
            "min_ms": 0.1,
            "p50_ms": 0.2,
            "p99_ms": 0.3,
            "samples": 4,
            "tcp_ms": 0.5,
        },
    ),
    (events.PingEvent(id="p"), {"type": "ping", "id": "p"}),
    (events.PongEvent(id=None, timestamp=1.0), {"type": "pong", "id": None, "timestamp": 1.0}),
    (
        events.Renamed(sender="u", old="a", username="b"),
        {"type": "renamed", "from": "u", "old": "a", "username": "b"},
    ),
    (
        events.Presence(room="a", count=1, joined=["b"], left=[]),
        {"type": "presence", "room": "a", "count": 1, "joined": ["b"], "left": []},
    ),
    (events.Presence(room="a", count=101), {"type": "presence", "room": "a", "count": 101}),
    (
        events.Error(code=ErrorCode.RATE_LIMITED, message="slower", retry_after=0.5, ref="r"),
        {"type": "error", "code": "rate_limited", "message": "slower", "retry_after": 0.5, "ref": "r"},
    ),
    (events.Gap(room="a", first=1, last=2), {"type": "gap", "room": "a", "first": 1, "last": 2}),
    (
        events.Bye(reason=ByeReason.SHUTDOWN, message="m", after=1.5),
        {"type": "bye", "reason": "shutdown", "message": "m", "after": 1.5},
    ),
    (events.Bye(reason=ByeReason.QUIT), {"type": "bye", "reason": "quit"}),
]


@pytest.mark.parametrize(("event", "wire"), WIRE, ids=lambda value: type(value).__name__)
def test_event_on_the_wire(event: Event, wire: dict[str, Any]) -> None:
    assert json.loads(encode(event)) == wire


def test_every_event_has_an_example() -> None:
    assert {type(event) for event, _ in WIRE} == set(typing.get_args(events.WireEvent))
    assert {wire["type"] for _, wire in WIRE} == {
        *("welcome", "message", "joined", "left", "opened", "closed", "rooms", "who", "servers", "history"),
        *("rtt", "ping", "pong", "renamed", "presence", "error", "gap", "bye"),
    }


@pytest.mark.parametrize("kind", [*typing.get_args(events.WireEvent), events.Notice])
def test_event_is_frozen_with_optional_ref(kind: type[Event]) -> None:
    assert issubclass(kind, Event)
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.omit_defaults


def test_message_event_is_not_tracked_by_the_garbage_collector() -> None:
    # Given that it contains no containers
    assert {type(value) for value in msgspec.structs.asdict(HI).values()} <= {str, int, float, bool, NoneType}
    # Then messages kept by rooms do not trigger a full collection
    assert not events.MessageEvent.__struct_config__.gc


def test_largest_unpaged_events_fit_a_frame() -> None:
    widest = "字" * 32
    message = events.MessageEvent(
        ref="字" * 64,
        room=f"@{widest},{widest}#1000000",
        seq=2**62,
        sender="x" * 64,
        username=widest,
        message='"' * MAX_MESSAGE_BYTES,
        timestamp=1e9 / 3,
        origin="client",
        again=True,
    )
    presence = events.Presence(room=widest, count=100, joined=[widest] * 100, left=[widest] * 100)
    assert len(encode(message)) <= MAX_FRAME_BYTES
    assert len(encode(presence)) <= MAX_FRAME_BYTES
