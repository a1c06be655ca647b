"""What cannot be encoded fails its own call, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from chat_client import Client
from chat_client.connection.encode import encode_command
from chat_protocol.commands import Join, Message
from chat_protocol.framing.lines import MAX_FRAME_BYTES

BAD = "a\udce9"
CALLS: dict[str, Callable[[Client], object]] = {
    "rename": lambda client: client.rename(BAD),
    "join": lambda client: client.join(BAD),
    "leave": lambda client: client.leave(BAD),
    "open": lambda client: client.open(BAD),
    "close": lambda client: client.close_conversation(BAD),
    "say": lambda client: client.say(BAD),
    "say to": lambda client: client.say("x", to=BAD),
    "say in": lambda client: client.say("x", room=BAD),
    "who": lambda client: client.who(BAD),
    "history": lambda client: client.history(BAD),
    "log": lambda client: list(client.log(BAD)),
    "rtt": lambda client: client.rtt(BAD),
    "quit": lambda client: client.quit(BAD),
    "surrogate": lambda client: client.join("\ud800"),
    "too long": lambda client: client.join("x" * MAX_FRAME_BYTES),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call_with_text_that_is_not_utf_8_raises_value_error_and_the_next_works(
    server: Any, call: Callable[[Client], object]
) -> None:
    with Client("enc", server.address, rooms=["enc"], timeout=60) as client:
        with pytest.raises(ValueError, match=r"UTF-8|the limit is"):
            call(client)
        assert client.say("still here", "enc").message == "still here"


@pytest.mark.parametrize("more", [{"username": BAD}, {"rooms": [BAD]}, {"program": BAD}], ids=str)
def test_connect_with_text_that_is_not_utf_8_raises_value_error(server: Any, more: dict[str, Any]) -> None:
    client = Client(**{"username": "enc-new", "servers": server.address, **more})
    with pytest.raises(ValueError, match="0xE9"):
        client.connect()


def test_rename_while_reconnecting_is_checked_at_once(start_server: Any) -> None:
    server = start_server()
    with Client("enc", server.address, reconnect=True, timeout=60) as client:
        server.kill()
        while client.connected:
            client.next_event(60)
        with pytest.raises(ValueError, match="0xE9"):
            client.rename(BAD)
        with pytest.raises(ValueError, match="0xE9"):
            client.send("x", room=BAD)
        assert not client.unacknowledged
        server.start()
        assert client.say("back").message == "back"


def test_problem_names_the_text_and_the_byte_or_surrogate() -> None:
    with pytest.raises(ValueError, match=r"'caf.*' contains the byte 0xE9, which is not UTF-8"):
        encode_command(Join(room="caf\udce9"))
    with pytest.raises(ValueError, match=r"contains the lone surrogate U[+]D800, which UTF-8 cannot encode"):
        encode_command(Join(room="\ud800x"))


def test_longest_frame_is_encoded_and_a_longer_one_refused() -> None:
    overhead = len(encode_command(Join(room=""))) - 1
    assert len(encode_command(Join(room="x" * (MAX_FRAME_BYTES - overhead)))) == MAX_FRAME_BYTES + 1
    with pytest.raises(ValueError, match=f"has {MAX_FRAME_BYTES + 1} bytes; the limit is {MAX_FRAME_BYTES}"):
        encode_command(Join(room="x" * (MAX_FRAME_BYTES - overhead + 1)))
    with pytest.raises(TypeError):
        encode_command(Message(message="x", room=object()))  # type: ignore[arg-type]
