"""docs/protocol.md against the real server: frames, names, hello and welcome."""

import pytest

from support.processes.fixtures import Connect
from support.processes.peer import unique_name
from support.processes.process import ServerProcess

MAX_FRAME_BYTES = 65_536

# Framing


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_frame_of_the_largest_size_is_taken(server: ServerProcess, connect: Connect, ending: bytes) -> None:
    ann = connect(server, "ann")
    frame = b'{"type":"ping","id":"big","padding":""}'
    whole = frame[:-2] + b"x" * (MAX_FRAME_BYTES - len(frame)) + frame[-2:]
    assert len(whole) == MAX_FRAME_BYTES
    ann.send(whole + ending)
    ann.expect("pong", id="big")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("piece", [MAX_FRAME_BYTES + 1, 4000])
@pytest.mark.parametrize("newline", [b"\n", b""])
def test_frame_over_maximum_size_ends_the_connection(
    server: ServerProcess, connect: Connect, piece: int, newline: bytes, *, named: bool
) -> None:
    # Given a client, named or not
    ann = connect(server, "ann" if named else "")
    ann.send_frame("ping", id="before")

    # When it sends too large a frame, in pieces or at once, with a newline or not
    whole = b'{"type":"ping","id":"' + b"x" * (MAX_FRAME_BYTES + 1 - 23) + b'"}' + newline
    assert len(whole.strip()) == MAX_FRAME_BYTES + 1
    for start in range(0, len(whole), piece):
        ann.send(whole[start : start + piece])

    # Then it gets an error after the answers to earlier frames, and the connection ends
    ann.expect("pong" if named else "error")
    assert ann.expect("error", code="frame_too_large")["message"]
    assert ann.expect_bye()["reason"] == "frame_too_large"


def test_field_order_is_free_and_unknown_fields_are_ignored(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server)
    name = unique_name("ann")
    ann.send(
        b'{"colour": {"deep": [1, null]}, "username": "'
        + name.encode()
        + b'", "ref": "1", "type": "hello"}\r\n'
        b'\r\n\n{"message": "hi", "later": true, "ref": "2", "type": "message"}\r\n'
    )
    assert ann.next_frame()["username"] == name
    assert ann.expect("message", ref="2")["message"] == "hi"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello?", "bad_frame"),
        (b"[]", "bad_frame"),
        (b'"text"', "bad_frame"),
        (b"{", "bad_frame"),
        (b'{"type":"ping"', "bad_frame"),
        (b'{"type":"message","message":"\xff"}', "bad_frame"),
        (b"[" * 30_000, "bad_frame"),
        (b'{"type":"ping","id":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "bad_frame"),
        (b'{"type":"dance"}', "unknown_type"),
        (b'{"type":7}', "unknown_type"),
        (b"{}", "unknown_type"),
        (b'{"username":"x","message":"y"}', "unknown_type"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else value,
)
def test_invalid_frame_keeps_the_session(
    server: ServerProcess, connect: Connect, line: bytes, code: str
) -> None:
    ann = connect(server, "ann")
    ann.send(line + b"\n")
    error = ann.expect("error")
    assert (error["code"], bool(error["message"])) == (code, True)
    assert len(ann.raw) < 1000
    ann.say("still here")


def test_an_unknown_type_answers_with_its_ref(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server, "ann")
    ann.send_frame("dance", ref="mine")
    assert ann.expect("error", ref="mine")["code"] == "unknown_type"


@pytest.mark.parametrize("ref", ["", "x" * 65, 7, ["a"]])
def test_a_ref_has_1_to_64_characters(server: ServerProcess, connect: Connect, ref: object) -> None:
    ann = connect(server, "ann")
    ann.send_frame("ping", ref=ref)
    assert ann.expect("error")["code"] == "invalid_field"
    assert ann.ask("ping", ref="é" * 64)["ref"] == "é" * 64


# hello and welcome


def test_welcome(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server)
    room = unique_name("room")
    welcome = ann.hello("Ann", rooms=["lobby", room], client="a test", ref="mine")
    assert welcome["ref"] == "mine"
    assert welcome["protocol"] == 1
    assert welcome["id"]
    assert welcome["resumed"] is False
    assert "session" not in welcome
    assert welcome["epoch"] == server.entries("server_started")[0]["epoch"]
    assert welcome["server"]["name"] == "greenroom"
    assert set(welcome["server"]) == {"name", "version", "node"}
    assert [state["room"] for state in welcome["rooms"]] == ["lobby", room]
    assert welcome["rooms"][1] == {"room": room, "seq": 0, "count": 1}
    assert welcome["ping_interval"] == 30
    limits = welcome["limits"]
    assert (limits["frame_bytes"], limits["message_bytes"]) == (MAX_FRAME_BYTES, 8192)
    assert (limits["rooms"], limits["conversations"]) == (100, 1000)
    assert (limits["messages_per_second"], limits["bytes_per_second"]) == (0, 0)


def test_without_rooms_it_is_the_lobby_and_there_may_be_none(server: ServerProcess, connect: Connect) -> None:
    assert [state["room"] for state in connect(server).hello("ann")["rooms"]] == ["lobby"]
    bob = connect(server)
    assert bob.hello("bob", rooms=[])["rooms"] == []
    assert bob.expect_refusal("message", message="hi") == "not_joined"


def test_a_room_given_twice_is_entered_once(server: ServerProcess, connect: Connect) -> None:
    room = unique_name("Room")
    welcome = connect(server).hello("ann", rooms=[room, room.lower(), room])
    assert [(state["room"], state["count"]) for state in welcome["rooms"]] == [(room, 1)]


def test_a_resumable_session_has_a_secret(server: ServerProcess, connect: Connect) -> None:
    one, other = connect(server).hello("ann", resumable=True), connect(server).hello("bob", resumable=True)
    assert one["session"] != other["session"]
    assert len(one["session"]) >= 128 / 6  # random bits, at six in a character
    assert one["id"] not in one["session"]


def test_hello_with_unknown_resume_starts_new_session(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server)
    welcome = ann.hello("ann", resume={"session": "x" * 32, "epoch": "then", "rooms": {"lobby": 7}})
    assert welcome["resumed"] is False
    assert welcome["rooms"][0]["room"] == "lobby"
    ann.say("as good as new")


def test_the_public_id_is_new_each_time(server: ServerProcess, connect: Connect) -> None:
    assert len({connect(server).hello("ann")["id"] for _ in range(5)}) == 5


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "x" * 33,
            " ann",
            "an n",
            "@ann",
            "a,b",
            "a/b",
            "a#b",
            ".ann",
            "_a",
            "a\x07",
            "a\u200bb",
            "a:b",
        ),
        *("server", "SERVER", "Guest-1", "guest-", "\u0301a", "a\u202eb", "a\n", "\U0001f600"),
    ],
)
def test_invalid_names_are_refused(server: ServerProcess, connect: Connect, name: str) -> None:
    ann = connect(server)
    assert ann.expect_refusal("hello", username=name) == "name_invalid"
    ann.hello("ann")
    assert ann.expect_refusal("rename", username=name) == "name_invalid"
    if "server" not in name.lower() and "guest" not in name.lower():
        assert ann.expect_refusal("join", room=name) == ("forbidden" if name == "@ann" else "name_invalid")


@pytest.mark.parametrize("name", ["é", "Ærøskøbing", "字-1", "a.b_c-d", "9lives", "e\u0301", "ß", "नमस्ते"])
def test_valid_names_are_accepted(server: ServerProcess, connect: Connect, name: str) -> None:
    ann = connect(server)
    ann.hello(name)
    assert connect(server).expect_refusal("hello", username=ann.username.upper()) == "name_taken"


def test_a_name_is_held_in_all_its_spellings(server: ServerProcess, connect: Connect) -> None:
    number = unique_name("")
    ann = connect(server)
    ann.send_frame("hello", username=f"Caf\u00e9{number}")
    ann.expect("welcome")
    for spelling in (f"cafe\u0301{number}", f"CAF\u00c9{number}", f"CAFE\u0301{number}"):
        assert connect(server).expect_refusal("hello", username=spelling) == "name_taken"


def test_hello_comes_first_and_once(server: ServerProcess, connect: Connect) -> None:
    ann = connect(server)
    for command in ("who", "rooms", "servers", "rtt", "ping"):
        assert ann.expect_refusal(command) == "hello_first"
    assert ann.expect_refusal("message", message="hi") == "hello_first"
    ann.hello("ann")
    assert ann.expect_refusal("hello", username=unique_name("other")) == "already_named"
    ann.say("still ann")
