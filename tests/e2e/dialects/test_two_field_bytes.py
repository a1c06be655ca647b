"""Two-field JSON, by the bytes that C programs and concatenated files send."""

import json

import pytest

from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.peer import unique_name
from support.processes.process import ServerProcess

BOM = b"\xef\xbb\xbf"


def pair(username: str, message: str, **more: object) -> bytes:
    return json.dumps({"username": username, "message": message, **more}).encode()


@pytest.mark.parametrize(
    "between",
    [b"\0", b"\0" * 4000, b"\x1e", BOM, b",\r\n", b"\n\0, \x1e" + BOM],
    ids=["NUL", "padded buffer", "RS", "BOM", "comma", "all"],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_separators_between_objects_lose_nothing(
    server: ServerProcess, dial: Dial, connect: Connect, between: bytes, *, bytewise: bool
) -> None:
    ann, name = connect(server, unique_name("ann")), unique_name("pat")
    wire = dial(server)
    stream = (
        between.replace(b",", b"")
        + between.join(pair(name, text) for text in ("one", "two", "three"))
        + between
    )
    for piece in [stream[at : at + 1] for at in range(len(stream))] if bytewise else [stream]:
        wire.send(piece)
    assert ann.said_until("three")[-3:] == [("lobby", "one"), ("lobby", "two"), ("lobby", "three")]
    wire.half_close()
    assert wire.read_to_end().count(b'"three"') == 1


@pytest.mark.parametrize("junk", [b";", b"|", b"\x04", b"<EOF>", "\xa0".encode(), b"junk\n"], ids=ascii)
def test_anything_else_between_objects_is_answered_and_ends_the_session(
    server: ServerProcess, dial: Dial, connect: Connect, junk: bytes
) -> None:
    ann, name = connect(server, unique_name("ann")), unique_name("pat")
    wire = dial(server)
    wire.send(pair(name, "one") + junk + pair(name, "two"))
    # Then what came before is acknowledged, and the reason given
    answers = [json.loads(line) for line in wire.read_to_end().splitlines()]
    assert [each["message"] for each in answers if each["username"] == name] == ["one"]
    assert [each for each in answers if each["username"] == "server" and "between objects" in each["message"]]
    # And nothing after it is said; the log says why
    ann.send_frame("message", message="fence")
    assert ("lobby", "two") not in ann.said_until("fence")
    assert server.wait_logged("session_closed", username=name)["reason"] == "bad_frame"


def test_an_object_with_a_room_is_said_there_alone(
    server: ServerProcess, dial: Dial, connect: Connect
) -> None:
    ann, name, room = connect(server, unique_name("ann")), unique_name("pat"), unique_name("ops")
    ops = connect(server, unique_name("ops"), rooms=[room])
    wire = dial(server)
    wire.send(pair(name, "deploy", room=room) + pair(name, "lunch?"))
    assert ops.expect("message", room=room)["message"] == "deploy"
    assert ann.said_until("lunch?")[-1] == ("lobby", "lunch?")
    # Any value that is no room is answered, and said nowhere
    bad: object
    for bad in (5, ["ops"], {}, True, "", "two words", "x" * 33, "@ann,bob", "a\u202eb", "a\0b"):
        wire.send(pair(name, "secret", room=bad))
        while json.loads(wire.read_line())["username"] != "server":
            pass
    wire.send(pair(name, "fence"))
    assert all(text != "secret" for _, text in ann.said_until("fence"))


def test_a_lone_surrogate_reaches_no_dialect_and_no_store(
    start_server: StartServer, dial: Dial, connect: Connect
) -> None:
    server = start_server("--rate-messages", "0")
    ann = connect(server, "ann")
    wire = dial(server)
    for field in ("username", "message", "room", "to"):
        wire.send(json.dumps({"username": "pat", "message": "hi", field: "\udce9"}).encode() + b"\n")
        answer = json.loads(wire.read_line())
        said = answer["message"]  # in NDJSON, until an object could be read
        assert f"`{field}`" in said
        assert "surrogate" in said
    ann.say("fence")
    assert not server.entries("internal_error")
