import json
import time
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from chat_protocol.commands import WIRE_TYPES, Command, Join, Message, Ping, Quit, WireCommand
from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.ndjson import (
    FRAME_TOO_LARGE,
    NdjsonCodec,
    decode_command,
    decode_event,
    encode,
    encode_messages,
)
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Error, Event, MessageEvent
from chat_protocol.framing.lines import MAX_FRAME_BYTES

DEEP = b"[" * 30_000 + b"]" * 30_000
FRAMES: list[tuple[bytes, Incoming | None]] = [
    (b'{"type":"join","room":"dev"}\n', Join(room="dev")),
    (b'{"room":"dev","type":"join"}\r\n', Join(room="dev")),
    (b' {"type" : "join", "room": "dev"} \n', Join(room="dev")),
    (b"\n", None),
    (b"\r\n", None),
    (
        b'{"type":"message","message":"a\\nb \\u00e9 \xc3\xa9","ref":"1"}\n',
        Message(message="a\nb é é", ref="1"),
    ),
    (b'{"type":"ping","unknown":[{"type":"quit"}]}\n', Ping()),
    (b'{"type":"quit"}\n', Quit()),
]


def fed(pieces: list[bytes]) -> list[Incoming]:
    codec = NdjsonCodec()
    found = [found for piece in pieces for found in codec.receive(piece)]
    return [*found, *codec.receive_eof()]


def fault_of(line: bytes) -> Fault:
    found = decode_command(line)
    assert isinstance(found, Fault)
    return found


def test_ndjson_decoding_does_not_depend_on_reads() -> None:
    stream = b"".join(frame for frame, _ in FRAMES)
    expected = [command for _, command in FRAMES if command is not None]
    assert fed([stream]) == expected
    assert fed([bytes([byte]) for byte in stream]) == expected
    for place in range(len(stream)):
        assert fed([stream[:place], stream[place:]]) == expected


@pytest.mark.parametrize(("frame", "command"), FRAMES)
def test_ndjson_unfinished_line_is_kept(frame: bytes, command: Incoming | None) -> None:
    codec = NdjsonCodec()
    assert codec.receive(frame + b'{"type":') == ([] if command is None else [command])
    assert codec.receive(b'"quit"}\n') == [Quit()]
    assert codec.receive_eof() == []


def test_ndjson_last_line_without_newline_is_decoded_at_eof() -> None:
    codec = NdjsonCodec()
    assert codec.receive(b'{"type":"quit"}') == []
    assert codec.receive_eof() == [Quit()]
    assert codec.receive_eof() == []


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", ErrorCode.BAD_FRAME),
        (b"5", ErrorCode.BAD_FRAME),
        (b"null", ErrorCode.BAD_FRAME),
        (b'[{"type":"ping"}]', ErrorCode.BAD_FRAME),
        (b'"ping"', ErrorCode.BAD_FRAME),
        (b" ", ErrorCode.BAD_FRAME),
        (b'{"type":"ping"', ErrorCode.BAD_FRAME),
        (b'{"type":"ping"} {"type":"ping"}', ErrorCode.BAD_FRAME),
        (b'junk {"type":"ping"}', ErrorCode.BAD_FRAME),
        (b'{"type":"ping"}\x00', ErrorCode.BAD_FRAME),
        (b'\xef\xbb\xbf{"type":"ping"}', ErrorCode.BAD_FRAME),
        (b'{"type":"message","message":"\xff"}', ErrorCode.BAD_FRAME),
        (b'{"type":"message","message":"\xed\xa0\x80"}', ErrorCode.BAD_FRAME),
        (b'{"type":"message","message":"\\ud800"}', ErrorCode.INVALID_FIELD),
        (b'{"type":"message","message":"\\ud800",}', ErrorCode.BAD_FRAME),
        (b'{"type":"message","message":"\\ud80"}', ErrorCode.BAD_FRAME),
        (b'["\\ud800"]', ErrorCode.BAD_FRAME),
        (b'{"type":"dance\\udfff"}', ErrorCode.INVALID_FIELD),
        (b'{"type":"message","message":"raw \x01 control"}', ErrorCode.BAD_FRAME),
        (b'{"type":"ping","x":' + DEEP + b"}", ErrorCode.BAD_FRAME),
        (b'{"type":' + DEEP + b"}", ErrorCode.BAD_FRAME),
        (DEEP, ErrorCode.BAD_FRAME),
        (b"{" * MAX_FRAME_BYTES, ErrorCode.BAD_FRAME),
        (b'{"a":' * 10_000, ErrorCode.BAD_FRAME),
        (b"{}", ErrorCode.UNKNOWN_TYPE),
        (b'{"type":"dance"}', ErrorCode.UNKNOWN_TYPE),
        (b'{"type":"PING"}', ErrorCode.UNKNOWN_TYPE),
        (b'{"type":5}', ErrorCode.UNKNOWN_TYPE),
        (b'{"type":null}', ErrorCode.UNKNOWN_TYPE),
        (b'{"type":"join"}', ErrorCode.INVALID_FIELD),
        (b'{"type":"join","room":5}', ErrorCode.INVALID_FIELD),
        (b'{"type":"join","room":null}', ErrorCode.INVALID_FIELD),
        (b'{"type":"join","room":"a","ref":""}', ErrorCode.INVALID_FIELD),
        (b'{"type":"history","room":"a","limit":501}', ErrorCode.INVALID_FIELD),
        (b'{"type":"history","room":"a","before":-1}', ErrorCode.INVALID_FIELD),
        (b'{"type":"history","room":"a","after":' + b"9" * 50_000 + b"}", ErrorCode.INVALID_FIELD),
        (b'{"type":"ping","id":' + b"9" * 50_000 + b"}", ErrorCode.INVALID_FIELD),
        (b'{"type":"ping","id":1e999}', ErrorCode.INVALID_FIELD),
        (b'{"type":"ping","type":"quit"}', ErrorCode.INVALID_FIELD),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_ndjson_invalid_frame_is_a_fault_without_bye(line: bytes, code: ErrorCode) -> None:
    fault = fault_of(line)
    assert fault.code == code
    assert fault.bye is None
    assert not fault.close
    assert fed([line + b'\n{"type":"quit"}\n']) == [fault, Quit()]


@pytest.mark.parametrize(
    ("behind", "code"),
    [
        (b', "x" garbage', ErrorCode.BAD_FRAME),
        (b',"ref":"\xff"}', ErrorCode.BAD_FRAME),
        (b',"ref":' + DEEP + b"}", ErrorCode.BAD_FRAME),
        (b',"x":' + DEEP + b"}", ErrorCode.BAD_FRAME),
        (b',"x":' + b"9" * 50_000 + b"}", ErrorCode.INVALID_FIELD),
    ],
    ids=["garbage", "bytes", "deep ref", "deep", "digits"],
)
def test_ndjson_anything_after_an_invalid_field_is_a_fault(behind: bytes, code: ErrorCode) -> None:
    assert fault_of(b'{"type":"message","message":1' + behind).code == code


def test_ndjson_fault_has_the_ref_if_valid() -> None:
    assert fault_of(b'{"type":"join","ref":"r1"}').ref == "r1"
    assert fault_of(b'{"ref":"r2","type":"dance"}').ref == "r2"
    assert fault_of(b'{"ref":"r3"}').ref == "r3"
    assert fault_of(b'{"type":"join","room":1,"ref":"' + b"x" * 64 + b'"}').ref == "x" * 64
    for bad in (b'""', b"5", b"null", b'"' + b"x" * 65 + b'"'):
        assert fault_of(b'{"type":"join","room":1,"ref":' + bad + b"}").ref is None


def test_ndjson_ref_length_is_in_code_points() -> None:
    assert decode_command(b'{"type":"ping","ref":"' + "字".encode() * 64 + b'"}') == Ping(ref="字" * 64)
    assert fault_of(b'{"type":"ping","ref":"' + "字".encode() * 65 + b'"}').code == ErrorCode.INVALID_FIELD


def test_ndjson_fault_names_the_field_once() -> None:
    for line, sentence in (
        (b'{"type":"join","room":5}', "the field `room` of join is not valid: expected `str`, got `int`"),
        (b'{"type":"message","message":5}', "the field `message` is not valid: expected `str`, got `int`"),
        (b'{"type":"join"}', "the field `room` of join is missing"),
        (
            b'{"type":"hello","username":"a","resume":{"epoch":""}}',
            "the field `resume.session` of hello is missing",
        ),
        (
            b'{"type":"hello","username":"a","resume":{"session":"s","rooms":{"x":"y"}}}',
            "the field `resume.rooms[...]` of hello is not valid: expected `int`, got `str`",
        ),
        (
            b'{"type":"join","room":"\\ud83d!"}',
            "the field `room` of join contains the lone surrogate U+D83D, which UTF-8 cannot encode",
        ),
    ):
        assert fault_of(line).message == sentence


@pytest.mark.parametrize("kind", typing.get_args(WireCommand), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("escape", [r"\ud800", r"\udfff!", r"a\udc80\ud800", r"\ud83d\u0041", r"\\\ud800"])
def test_ndjson_lone_surrogate_in_any_string_is_an_invalid_field_with_the_ref(
    kind: type[Command], escape: str
) -> None:
    """A client's `json.dumps` writes such escapes for bytes that it could not decode."""
    # Given each field of the command in turn, with a string that UTF-8 cannot encode
    valid: dict[str, object] = {"type": kind.__struct_config__.tag}
    fields = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in [*fields, "unknown"]:
        line = json.dumps({"ref": "r", **valid, name: "VALUE"}).replace("VALUE", escape).encode()
        # Then it is answered with its name and the command's ref
        fault = fault_of(line)
        assert fault.code == ErrorCode.INVALID_FIELD
        assert f"`{name}`" in fault.message
        assert "lone surrogate" in fault.message
        assert fault.ref == (None if name == "ref" else "r")


def test_ndjson_escaped_pairs_and_escaped_backslashes_are_no_lone_surrogates() -> None:
    assert decode_command(rb'{"type":"join","room":"\ud83d\ude00"}') == Join(room="😀")
    assert decode_command(rb'{"type":"join","room":"\\ud800"}') == Join(room=r"\ud800")
    fault = fault_of(rb'{"type":"join","room":"\ud83d\ude00\\ud800 \udead"}')
    assert "U+DEAD" in fault.message


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"' + b"x" * 60_000 + b'"}',
        b'{"type":"' + b"x" * 60_000 + b'","type":"join"}',
        b'{"type":"' + b" - at `$" * 80_000 + b'\\n","type":"join"}',
        b'{"type":"join","' + b"x" * 60_000 + b'":1}',
        b'{"type":"hello","username":"a","resume":{"session":"","rooms":{"' + b"x" * 60_000 + b'":""}}}',
    ],
    ids=["type", "two types", "a place in the type", "key", "room"],
)
def test_ndjson_fault_is_short_and_takes_linear_time(line: bytes) -> None:
    began = time.thread_time()
    assert len(fault_of(line).message) < 1000
    assert time.thread_time() - began < 5


def test_ndjson_duplicate_field_takes_the_last_value() -> None:
    assert decode_command(b'{"type":"join","room":"a","room":"b"}') == Join(room="b")


@given(st.binary() | st.text('{}[]":,\\ntype ping01', max_size=40).map(str.encode))
def test_ndjson_any_line_is_a_command_or_a_fault(line: bytes) -> None:
    assert isinstance(decode_command(line), Command | Fault)


@given(st.data())
def test_ndjson_any_fields_are_a_command_or_a_fault_that_encodes(data: DataObject) -> None:
    keys = st.sampled_from(["type", "ref", "room", "message", "to", "id", "limit", "rooms", "resume", "x"])
    names = st.sampled_from(sorted(WIRE_TYPES))
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | names
    anything = st.recursive(
        plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5)
    )
    frame = data.draw(st.dictionaries(keys, anything, max_size=6))
    found = decode_command(json.dumps(frame).encode())
    if isinstance(found, Fault):
        assert decode_event(encode(Error(code=found.code, message=found.message, ref=found.ref)))
    else:
        assert decode_command(encode(found)) == found


@pytest.mark.parametrize("step", [1, 1000, MAX_FRAME_BYTES, 2 * MAX_FRAME_BYTES])
def test_ndjson_frame_over_65_536_bytes_is_a_fault_with_bye(step: int) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        frame = b'{"type":"ping","x":"' + b"x" * (size - 22) + b'"}'
        assert len(frame) == size
        stream = b'{"type":"quit"}\n' + frame + b'\n{"type":"quit"}\n'
        found = fed([stream[at : at + step] for at in range(0, len(stream), step)])
        assert found == ([Quit(), Ping(), Quit()] if size == MAX_FRAME_BYTES else [Quit(), FRAME_TOO_LARGE])


def test_ndjson_overflow_is_reported_once() -> None:
    codec = NdjsonCodec()
    assert codec.receive(b"x" * (MAX_FRAME_BYTES + 1)) == [FRAME_TOO_LARGE]
    assert codec.receive(b'x\n{"type":"quit"}\n') == []
    assert codec.receive_eof() == []
    assert (FRAME_TOO_LARGE.code, FRAME_TOO_LARGE.bye) == (
        ErrorCode.FRAME_TOO_LARGE,
        ByeReason.FRAME_TOO_LARGE,
    )


def test_ndjson_blank_lines_are_skipped() -> None:
    assert fed([b"\n" * MAX_FRAME_BYTES]) == []


@given(st.data())
def test_ndjson_every_event_round_trips_as_one_line(
    any_event: SearchStrategy[Event], data: DataObject
) -> None:
    event = data.draw(any_event)
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert len(line) <= MAX_FRAME_BYTES
    assert decode_event(line) == event
    assert decode_event(line.rstrip()) == event


@given(st.data())
def test_ndjson_every_command_round_trips_as_one_line(
    any_command: SearchStrategy[Command], data: DataObject
) -> None:
    command = data.draw(any_command)
    line = encode(command)
    assert line.count(b"\n") == 1
    assert fed([line]) == [command]


@given(st.data())
def test_ndjson_batch_is_the_lines_of_its_messages(
    any_messages: SearchStrategy[list[MessageEvent]], data: DataObject
) -> None:
    messages = data.draw(any_messages)
    assert encode_messages(messages) == b"".join(map(encode, messages))


def test_decode_event_ignores_unknown_types_and_fields() -> None:
    assert decode_event(b'{"type":"confetti","colour":"red"}') is None
    assert decode_event(b'{"type":"error","code":"internal","message":"x","new":{}}') == Error(
        code=ErrorCode.INTERNAL, message="x"
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hi",
        b"{}",
        b"[]",
        b'{"type":"left"}',
        b'{"type":"left","room":"\xff"}',
        b'{"type":"left","room":' + DEEP,
        b'{"type":"bye","reason":"`$.type`"}',
        b'{"type":"left","x":' + DEEP + b"}",
    ],
    ids=lambda line: repr(line[:30]),
)
def test_decode_event_invalid_line_raises_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(line)


@given(st.binary())
def test_decode_event_any_line_is_an_event_none_or_decode_error(line: bytes) -> None:
    try:
        event = decode_event(line)
    except msgspec.DecodeError:
        return
    assert event is None or isinstance(event, Event)


def test_ndjson_codec_encodes_like_the_module() -> None:
    event = Error(code=ErrorCode.INTERNAL, message="x")
    assert NdjsonCodec.encoding.encode(event) == encode(event)
