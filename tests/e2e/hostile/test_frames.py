"""Malformed frames: each is answered, and none affects other sessions."""

import json

import pytest

from chat_protocol.framing.lines import MAX_FRAME_BYTES
from e2e.hostile.conftest import Served
from support.processes.fixtures import Connect, Dial
from support.processes.process import ServerProcess
from support.processes.server_counters import counted, wait_counted


def said(text: bytes) -> bytes:
    return b'{"type":"message","message":' + text + b"}"


NOT_UTF_8 = {
    "continuation alone": b"\x80",
    "cut off": b"\xe2\x82",
    "overlong slash": b"\xc0\xaf",
    "overlong nul": b"\xc0\x80",
    "overlong in three": b"\xe0\x80\xaf",
    "overlong in four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond the last": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "byte that never is": b"\xff",
    "latin": b"caf\xe9",
    "utf-16": "hi".encode("utf-16"),
}
BAD: dict[str, tuple[bytes, str]] = {
    **{f"not UTF-8, {name}": (said(b'"' + data + b'"'), "bad_frame") for name, data in NOT_UTF_8.items()},
    "objects in objects": (b'{"a":' * 10_000, "bad_frame"),
    "objects in objects, closed": (b'{"type":' + b'{"a":' * 9000 + b"1" + b"}" * 9001, "bad_frame"),
    "depth in what is ignored": (b'{"type":"ping","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "bad_frame"),
    "a nul": (said(b'"a\x00b"'), "bad_frame"),
    "an escape code": (said(b'"\x1b[2J"'), "bad_frame"),
    "an escaped nul": (said(rb'"a\u0000b"'), "invalid_field"),
    "an escaped escape code": (said(rb'"\u001b[2J"'), "invalid_field"),
    "an escaped C1 control": (said(rb'"\u009b2J"'), "invalid_field"),
    "half a surrogate pair": (said(rb'"\ud800"'), "invalid_field"),
    "the other half": (said(rb'"\udc00"'), "invalid_field"),
    "the halves in the wrong order": (said(rb'"\udc00\ud800"'), "invalid_field"),
    "half a pair in a room": (rb'{"type":"join","room":"\ud800"}', "invalid_field"),
    "half a pair in a ref": (rb'{"type":"who","ref":"\ud800"}', "invalid_field"),
    "half a pair in a name": (rb'{"type":"rename","username":"\udfff"}', "invalid_field"),
    "half a pair in a key": (rb'{"\ud800":1,"type":"who"}', "invalid_field"),
    "a nul in a name": (rb'{"type":"rename","username":"a\u0000"}', "name_invalid"),
    "an escape code in a room": (rb'{"type":"join","room":"\u001b[31m"}', "name_invalid"),
    "a line break in a name": (rb'{"type":"rename","username":"a\nb"}', "name_invalid"),
    "a direction in a name": (rb'{"type":"rename","username":"a\u202eb"}', "name_invalid"),
    "tatweel in a name": (rb'{"type":"rename","username":"a\u0640b"}', "name_invalid"),
    "a low macron in a room": (rb'{"type":"join","room":"a\u02cd"}', "name_invalid"),
    "something invisible in a name": (rb'{"type":"rename","username":"a\u200bb"}', "name_invalid"),
    "a number of 60,000 digits": (
        b'{"type":"history","room":"haven","after":' + b"9" * 60_000 + b"}",
        "invalid_field",
    ),
    "a number beyond 64 bits": (
        b'{"type":"history","room":"x","after":1' + b"0" * 30 + b"}",
        "invalid_field",
    ),
    "a negative seq": (b'{"type":"history","room":"x","before":-1}', "invalid_field"),
    "a number that is infinite": (b'{"type":"ping","id":1e999999}', "invalid_field"),
    "a fraction": (b'{"type":"history","room":"x","limit":1.5}', "invalid_field"),
    "not a number": (b'{"type":"history","room":"x","limit":NaN}', "bad_frame"),
    "a ref of 65 letters": (b'{"type":"who","ref":"' + b"r" * 65 + b'"}', "invalid_field"),
    "a room of 60,000 letters": (b'{"type":"join","room":"' + b"r" * 60_000 + b'"}', "name_invalid"),
    "a user of 60,000 letters": (b'{"type":"rtt","username":"' + b"r" * 60_000 + b'"}', "no_such_user"),
    "a type of 60,000 letters": (b'{"type":"' + b"t" * 60_000 + b'"}', "unknown_type"),
    "marks without end": (b'{"type":"rename","username":"a' + b"\xcc\x81" * 5000 + b'"}', "name_invalid"),
}


@pytest.mark.parametrize(("line", "code"), BAD.values(), ids=BAD)
def test_a_bad_frame_is_answered_and_the_session_goes_on(
    fort: ServerProcess, connect: Connect, line: bytes, code: str
) -> None:
    eve = connect(fort, "eve")
    eve.send(line + b"\n")
    error = eve.expect("error")
    assert (error["code"], bool(error["message"])) == (code, True)
    assert len(eve.raw) < 1500
    assert eve.say("still here")["message"] == "still here"


def test_what_was_answered_is_counted(fort: ServerProcess, connect: Connect) -> None:
    codes = ("bad_frame", "invalid_field", "name_invalid", "no_such_user", "unknown_type")
    before = {code: counted(fort, "errors", code) for code in codes}
    eve = connect(fort, "eve")
    for line, code in BAD.values():
        eve.send(line + b"\n")
        assert eve.expect("error")["code"] == code
    for code in codes:
        wait_counted(fort, "errors", code, before[code] + sum(code == one for _, one in BAD.values()))


@pytest.mark.parametrize("named", [True, False], ids=["named", "as the first bytes"])
@pytest.mark.parametrize(
    "frame", [b"[" * 100_000, b'{"a":' * 100_000, b'{"' + b"k" * 100_000, b"x" * 100_000], ids=lambda f: f[:6]
)
def test_what_is_too_large_is_the_end_whatever_it_is(
    fort: ServerProcess, connect: Connect, served: Served, frame: bytes, *, named: bool
) -> None:
    eve = connect(fort, "eve" if named else "")
    eve.send(frame)
    served()
    answers = [json.loads(line) for line in eve.read_to_end().splitlines() if line.startswith(b"{")]
    assert answers[-1]["type"] in {"bye", "error"}
    assert "frame_too_large" in {answer.get("code") for answer in answers} or not named


def test_of_a_key_that_comes_twice_the_last_counts(fort: ServerProcess, connect: Connect) -> None:
    eve = connect(fort, "eve")
    eve.send(b'{"type":"message","message":"one","message":"two","ref":"a","ref":"b"}\n')
    assert eve.expect("message", ref="b")["message"] == "two"
    eve.send(b'{"type":"quit","type":"message","message":"one","ref":"c"}\n')
    assert eve.expect("error", ref="c")["code"] == "invalid_field"  # a frame has one type
    eve.send(b'{"type":"ping","id":"' + b'","id":"'.join(b"%d" % number for number in range(5000)) + b'"}\n')
    eve.expect("pong", id="4999")


def test_what_is_ignored_is_not_looked_at(fort: ServerProcess, connect: Connect) -> None:
    eve = connect(fort, "eve")
    eve.send(b'{"type":"ping","id":"1","later":"\xff\x80","huge":1e999999}\n')
    eve.expect("pong", id="1")


def test_every_first_byte(fort: ServerProcess, dial: Dial, served: Served) -> None:
    # Given 256 connections, each with another first byte, followed by garbage
    wires = [dial(fort) for _ in range(256)]
    garbage = bytes((number * 73 + 41) % 256 for number in range(2000))
    for first, wire in enumerate(wires):
        wire.send(bytes([first]) + garbage)
        wire.half_close()
    served()

    # Then each is answered, and closed
    for first, wire in enumerate(wires):
        assert wire.read_to_end(), first


def test_the_largest_frames_at_full_speed(fort: ServerProcess, connect: Connect, served: Served) -> None:
    # Given a client that sends 8 MB of invalid frames of maximum size
    eve = connect(fort, "eve")
    frame = b'{"type":"dance","steps":[' + b"[],{}," * ((MAX_FRAME_BYTES - 40) // 6) + b"1]}\n"
    assert len(frame) < MAX_FRAME_BYTES
    for _ in range(128):
        eve.send(frame)
    served()

    # Then each is answered, and none of it counts as a message
    codes = [eve.expect("error")["code"] for _ in range(128)]
    assert set(codes) == {"unknown_type"}
