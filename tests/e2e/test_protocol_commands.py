"""The commands of docs/protocol.md: answers, invalid fields and limits."""

import json
import time

import pytest

from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.peer import unique_name
from support.processes.process import ServerProcess

# Commands


def test_join_and_leave(server: ServerProcess, connect: Connect) -> None:
    # Given a room with messages
    ann, bob = connect(server, "ann"), connect(server, "bob")
    room = unique_name("Room")
    assert ann.ask("join", room=room) | {"ref": ""} == {
        "type": "joined", "room": room, "seq": 0, "count": 1, "ref": ""
    }  # fmt: skip
    ann.say("first", room=room)

    # When another joins, in other case
    joined = bob.ask("join", room=room.upper())

    # Then it gets the room's seq, and all later messages
    assert (joined["room"], joined["seq"], joined["count"]) == (room, 1, 2)
    ann.say("second", room=room)
    assert bob.expect("message", room=room)["seq"] == 2

    # And joining again returns the current seq
    assert bob.ask("join", room=room)["seq"] == 2

    # When it leaves, then it gets no more messages
    assert bob.ask("leave", room=room)["type"] == "left"
    ann.say("third", room=room)
    assert not [frame for frame in bob.frames_so_far() if frame["type"] == "message"]
    assert bob.expect_refusal("leave", room=room) == "not_joined"
    assert bob.expect_refusal("message", message="hi", room=room) == "not_joined"


def test_leave_waits_for_what_was_said(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann", rooms=[unique_name("room")])
    room = unique_name("room")
    ann.send_frame("join", room=room)
    for number in range(20):
        ann.send_frame("message", room=room, message="m", ref=f"r{number}")
    ann.send_frame("leave", room=room, ref="left")
    kinds = [(frame["type"], frame.get("ref")) for frame in ann.frames_so_far() if "ref" in frame]
    assert kinds == [("message", f"r{number}") for number in range(20)] + [("left", "left")]


def test_rename_waits_for_what_was_said(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    old, new = ann.username, unique_name("anna")
    ann.send(
        b"".join(
            json.dumps(frame).encode() + b"\n"
            for frame in (
                {"type": "message", "message": "as ann", "ref": "1"},
                {"type": "rename", "username": new, "ref": "2"},
                {"type": "message", "message": "as anna", "ref": "3"},
            )
        )
    )
    assert ann.expect("message", ref="1")["username"] == old
    assert ann.expect("renamed", ref="2") == {
        "type": "renamed", "ref": "2", "from": ann.id, "old": old, "username": new
    }  # fmt: skip
    assert ann.expect("message", ref="3")["username"] == new


def test_a_peer_hears_of_a_rename_once(server: ServerProcess, connect: Connect) -> None:
    # Given two clients that share three rooms and a conversation, and one that shares none
    rooms = [unique_name("room") for _ in range(3)]
    ann, bob, eve = (
        connect(server, name, rooms=one) for name, one in (("a", rooms), ("b", rooms), ("e", []))
    )
    ann.ask("open", with_=bob.username)

    # When one is renamed
    old = ann.username
    ann.ask("rename", username=unique_name("anna"))

    # Then the peer gets it once, the other client does not
    renamed = [frame for frame in bob.frames_so_far() if frame["type"] == "renamed"]
    assert [(frame["from"], frame["old"]) for frame in renamed] == [(ann.id, old)]
    assert not [frame for frame in eve.frames_so_far() if frame["type"] == "renamed"]
    assert ann.expect_refusal("rename", username=bob.username) == "name_taken"


def test_rooms(server: ServerProcess, connect: Connect) -> None:
    # Given an empty room with messages, one with a member, and one with neither
    ann = connect(server, "ann")
    spoken, silent, gone = unique_name("aaa-spoken"), unique_name("aaa-silent"), unique_name("aaa-gone")
    for room in (spoken, silent, gone):
        ann.ask("join", room=room)
    ann.say("hi", room=spoken)
    for room in (spoken, gone):
        ann.ask("leave", room=room)

    # When listed, then the first two are there, sorted by name; conversations are not
    ann.ask("open", with_=connect(server, "bob").username)
    answer = ann.ask("rooms")
    listed = {state["room"]: (state["seq"], state["count"]) for state in answer["rooms"]}
    assert listed[spoken] == (1, 0)
    assert listed[silent] == (0, 1)
    assert gone not in listed
    assert not any(name.startswith("@") for name in listed)
    names = [name.casefold() for name in listed]
    assert names == sorted(names)
    following = [state["room"] for state in ann.ask("rooms", after=silent)["rooms"]]
    assert silent not in following
    assert spoken in following


def test_member_list_of_room_and_server(server: ServerProcess, connect: Connect) -> None:
    room = unique_name("room")
    ann, bob = connect(server, "Ann", rooms=[room]), connect(server, "bob", rooms=[room])
    cat = connect(server, "cat")
    answer = cat.ask("who", room=room)
    assert answer["room"] == room
    assert answer["more"] is False
    assert [user["username"] for user in answer["users"]] == [ann.username, bob.username]
    assert all(set(user) == {"username", "rtt_ms", "since"} for user in answer["users"])
    assert all(abs(user["since"] - time.time()) < 3600 for user in answer["users"])
    everyone = [user["username"] for user in cat.ask("who")["users"]]
    assert {ann.username, bob.username, cat.username} <= set(everyone)
    assert [user["username"] for user in cat.ask("who", room=room, after=ann.username)["users"]] == [
        bob.username
    ]
    assert cat.expect_refusal("who", room=unique_name("nowhere")) == "no_such_room"


def test_servers_ping_and_rtt(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    (only,) = ann.ask("servers")["servers"]
    assert set(only) == {"node", "address", "clients", "rtt_ms"}
    assert only["address"] == f"127.0.0.1:{server.port}"
    assert only["clients"] >= 1
    for mark in ("x", 7, None):
        pong = ann.ask("ping", id=mark)
        assert pong["id"] == mark
        assert abs(pong["timestamp"] - time.time()) < 3600
    own = ann.ask("rtt")
    fields = {"username", "last_ms", "min_ms", "p50_ms", "p99_ms", "samples", "tcp_ms"}
    assert fields <= set(own)
    assert (own["username"], own["samples"], own["last_ms"]) == (ann.username, 0, None)
    assert own["tcp_ms"] > 0
    assert ann.ask("rtt", username=ann.username.upper())["username"] == ann.username
    assert ann.expect_refusal("rtt", username="nobody-here") == "no_such_user"


def test_quit(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    ann.send_frame("message", message="last words", ref="1")
    ann.send_frame("quit", reason="supper", ref="2")
    ann.expect("message", ref="1", from_=ann.id)
    assert ann.expect_bye() == {"type": "bye", "reason": "quit", "ref": "2"}


def test_end_of_input_waits_for_what_was_said(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    for number in range(20):
        ann.send_frame("message", message="m", ref=f"r{number}")
    ann.half_close()
    for number in range(20):
        ann.expect("message", ref=f"r{number}", from_=ann.id)
    assert b"error" not in ann.read_to_end()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "hello"},
        {"type": "message"},
        {"type": "message", "message": 7},
        {"type": "message", "message": None},
        {"type": "message", "message": ""},
        {"type": "message", "message": "x" * 8193},
        {"type": "message", "message": "é" * 4097},
        {"type": "message", "message": "a\x1bb"},
        {"type": "message", "message": "a\x85b"},
        {"type": "message", "message": "\ud800"},
        {"type": "message", "message": "hi", "room": "lobby", "to": "x"},
        {"type": "join"},
        {"type": "open"},
        {"type": "pong"},
        {"type": "ping", "id": "x" * 65},
        {"type": "history", "room": "lobby", "limit": 0},
        {"type": "history", "room": "lobby", "limit": 501},
        {"type": "history", "room": "lobby", "before": -1},
        {"type": "history", "room": "lobby", "before": 1, "after": 1},
        {"type": "who", "room": 3},
    ],
    ids=lambda fields: "-".join(map(str, fields.values()))[:30].encode("ascii", "ignore").decode(),
)
def test_fields_that_are_wrong(server: ServerProcess, connect: Connect, fields: dict[str, object]) -> None:
    ann = connect(server, "ann")
    ann.send(json.dumps(fields | {"ref": "mine"}).encode() + b"\n")
    error = ann.expect("error")
    assert error["code"] == "invalid_field"
    assert error["ref"] == "mine"
    ann.say("and on")


def test_line_breaks_and_tabs_are_kept(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    assert ann.say("a\n\tb\n")["message"] == "a\n\tb\n"
    assert ann.say("x" * 8192)["message"] == "x" * 8192


# Limits


def test_rate_limited(start_server: StartServer, connect: Connect) -> None:
    # Given a server with a burst of three messages, and a rate of one per second
    server = start_server("--rate-messages", "1", "--rate-messages-burst", "3", "--store", "memory")
    ann, bob = connect(server, "ann"), connect(server, "bob")
    limits = connect(server).hello("cat")["limits"]
    assert (limits["messages_per_second"], limits["message_burst"]) == (1, 3)

    # When a client sends more than that
    for number in range(6):
        ann.send_frame("message", message="m", ref=f"r{number}")

    # Then the rest is refused, with ref and retry_after; pings are free
    refused = ann.expect("error", code="rate_limited")
    assert 0 < refused["retry_after"] <= 5
    assert refused["ref"].startswith("r")
    ann.send_frame("ping", id="free")
    ann.expect("pong", id="free")

    # And other clients are not affected
    bob.say("fine here")


def test_the_bytes_of_a_session_are_limited(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--rate-bytes", "1K", "--rate-bytes-burst", "20K", "--store", "memory")
    ann = connect(server, "ann")
    for number in range(4):
        ann.send_frame("message", message="x" * 8000, ref=f"r{number}")
    refused = ann.expect("error", code="rate_limited")
    assert refused["ref"] in {"r1", "r2", "r3"}  # bytes count when read, perhaps several frames
    assert refused["retry_after"] > 1


def test_zero_switches_the_limits_off(start_server: StartServer, connect: Connect) -> None:
    flags = (
        "--rate-messages",
        "0",
        "--rate-messages-burst",
        "1",
        "--rate-bytes",
        "0",
        "--rate-bytes-burst",
        "1",
    )
    ann = connect(start_server(*flags, "--store", "memory"), "ann")
    for number in range(200):
        ann.send_frame("message", message="m", ref=f"r{number}")
    ann.expect("message", ref="r199")


def test_too_many(start_server: StartServer, connect: Connect) -> None:
    # Given a server with small limits
    server = start_server("--max-rooms", "2", "--max-conversations", "1", "--store", "memory")
    ann, bob, cat = connect(server, "ann"), connect(server, "bob"), connect(server, "cat")

    # When a client wants more rooms or conversations than that
    ann.ask("join", room="second")
    assert ann.expect_refusal("join", room="third") == "too_many"
    assert connect(server).expect_refusal("hello", username="dan", rooms=["1", "2", "3"]) == "too_many"
    ann.ask("open", with_=bob.username)
    assert ann.expect_refusal("open", with_=cat.username) == "too_many"
    assert ann.expect_refusal("message", to=cat.username, message="hi") == "too_many"

    # Then others are not limited, and it may open another after closing one
    cat.ask("open", with_=bob.username)
    ann.ask("close", with_=bob.username)
    assert ann.ask("open", with_=cat.username)["type"] == "opened"
    ann.ask("leave", room="second")
    assert ann.ask("join", room="third")["type"] == "joined"


def test_flooding_with_what_is_refused(server: ServerProcess, dial: Dial) -> None:
    eve = dial(server)
    eve.send(b'{"type":"who"}\n' * 1500)
    lines = [json.loads(line) for line in eve.read_to_end().splitlines()]
    assert lines[-1] == {"type": "bye", "reason": "flooding"}
    assert {line["code"] for line in lines[:-1]} == {"hello_first"}
