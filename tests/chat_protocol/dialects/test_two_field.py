import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from chat_protocol import events
from chat_protocol.commands import Say
from chat_protocol.dialects import two_field
from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE
from chat_protocol.dialects.two_field import TwoFieldCodec, decode_object
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES

HI = Say(username="ann", message="hi")
OBJECT = b'{"username":"ann","message":"hi"}'
STREAM = (
    OBJECT
    + OBJECT
    + b"\n\0\0\x1e\xef\xbb\xbf"
    + OBJECT
    + b' , \r\n{\n "message": "hi",\n "username": "ann", "x": {}\n}'
    + OBJECT
)


def fed(pieces: list[bytes]) -> list[Incoming]:
    codec = TwoFieldCodec()
    found = [found for piece in pieces for found in codec.receive(piece)]
    return [*found, *codec.receive_eof()]


def codes(found: list[Incoming]) -> list[str]:
    return [item.code if isinstance(item, Fault) else item.__class__.__name__ for item in found]


def message(text: str = "hi", username: str = "ann") -> events.MessageEvent:
    return events.MessageEvent(
        room="lobby", seq=1, sender="id", username=username, message=text, timestamp=1.5, origin="client"
    )


def test_two_field_decoding_does_not_depend_on_reads() -> None:
    expected = [HI] * 5
    assert fed([STREAM]) == expected
    assert fed([bytes([byte]) for byte in STREAM]) == expected
    for place in range(len(STREAM)):
        assert fed([STREAM[:place], STREAM[place:]]) == expected


def test_two_field_unfinished_object_is_kept() -> None:
    for place in range(1, len(OBJECT)):
        codec = TwoFieldCodec()
        assert codec.receive(OBJECT + OBJECT[:place]) == [HI]
        assert codec.receive(OBJECT[place:]) == [HI]
        assert codec.receive_eof() == []


def test_two_field_unfinished_object_at_eof_is_a_fault() -> None:
    assert codes(fed([OBJECT + OBJECT[:10]])) == ["Say", ErrorCode.BAD_FRAME]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{}", ErrorCode.INVALID_FIELD),
        (b'{"username":"ann"}', ErrorCode.INVALID_FIELD),
        (b'{"username":1,"message":"hi"}', ErrorCode.INVALID_FIELD),
        (b'{"username":"ann","message":null}', ErrorCode.INVALID_FIELD),
        (b"{username:ann}", ErrorCode.BAD_FRAME),
        (b'{"username":"\xff","message":"hi"}', ErrorCode.BAD_FRAME),
        (b'{"username":"ann","message":"\\ud800"}', ErrorCode.INVALID_FIELD),
        (b'{"username":"\\ud800","message":""}', ErrorCode.INVALID_FIELD),
        (b'{"username":"ann","message":"hi","room":"\\udead"}', ErrorCode.INVALID_FIELD),
        (b'{"username":"ann","message":"hi","room":5}', ErrorCode.INVALID_FIELD),
        (b'{"username":"ann","message":"hi","room":["ops"]}', ErrorCode.INVALID_FIELD),
        (b'{"username":"ann","message":"hi","to":5}', ErrorCode.INVALID_FIELD),
        (b'{"x":' * 10_000 + b"1" + b"}" * 10_000, ErrorCode.BAD_FRAME),
        (b'{"username":"ann","message":' + b"9" * 50_000 + b"}", ErrorCode.INVALID_FIELD),
        (b'{"username":"ann\n', ErrorCode.BAD_FRAME),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
def test_two_field_invalid_object_is_a_fault_and_the_next_is_decoded(text: bytes, code: ErrorCode) -> None:
    found = fed([OBJECT + text + OBJECT])
    assert codes(found) == ["Say", code, "Say"]
    assert len(str(found[1])) < 1000


@pytest.mark.parametrize(
    "junk",
    [
        b";",
        b"|",
        b"\x04",
        b"<EOF>",
        "\xa0".encode(),
        b"x",
        b"]",
        b"}",
        b"\x16\x03\x01",
        b"\xff",
        b"\xef\xbb\xbe",
        b"\x85",
        b"/",
    ],
    ids=ascii,
)
def test_two_field_anything_else_between_objects_is_answered_at_once_and_ends_it(junk: bytes) -> None:
    for stream in (OBJECT + junk + OBJECT, OBJECT + b"\n\0 " + junk, OBJECT + junk + b"\n" + OBJECT):
        for pieces in ([stream], [bytes([byte]) for byte in stream]):
            hi, fault = fed(pieces)
            assert hi == HI
            assert isinstance(fault, Fault)
            assert (fault.code, fault.close) == (ErrorCode.BAD_FRAME, True)
            named = repr(junk[:1].decode()) if b" " < junk[:1] < b"\x7f" else f"{junk[0]:02X}"
            assert named in fault.message


@given(
    st.lists(
        st.sampled_from([b"\0", b"\x1e", b"\xef\xbb\xbf", b" ", b"\t", b"\r\n", b",", b"\0" * 300]),
        max_size=6,
    ),
    st.lists(st.integers(0, 2000), max_size=6),
)
def test_two_field_padding_between_objects_counts_as_blanks(between: list[bytes], cuts: list[int]) -> None:
    padding = b"".join(between)
    stream = padding + OBJECT + padding + OBJECT + padding
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    assert fed([stream[start:end] for start, end in pairwise(places)]) == [HI, HI]


def test_two_field_object_may_name_a_room_or_a_user() -> None:
    assert fed([b'{"username":"ann","message":"hi","room":"ops"}']) == [
        Say(username="ann", message="hi", room="ops")
    ]
    assert fed([b'{"username":"ann","message":"hi","to":"bob"}']) == [
        Say(username="ann", message="hi", to="bob")
    ]
    assert fed([b'{"username":"ann","message":"hi","room":null,"to":null,"x":1}']) == [HI]


def test_two_field_fault_names_the_field_once() -> None:
    for text, sentence in (
        (b'{"message":"hi"}', "the field `username` of the object is missing"),
        (
            b'{"username":"a","message":1}',
            "the field `message` of the object is not valid: expected `str`, got `int`",
        ),
        (
            rb'{"username":"a","message":"\ud800"}',
            "the field `message` of the object contains the lone surrogate U+D800, which UTF-8 cannot encode",
        ),
    ):
        fault = decode_object(text)
        assert isinstance(fault, Fault)
        assert fault.message == sentence


def test_two_field_duplicate_field_takes_the_last_value() -> None:
    assert fed([b'{"username":"bob","username":"ann","message":"hi"}']) == [HI]


@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
def test_two_field_object_over_65_536_bytes_is_a_fault_with_bye(step: int) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        large = OBJECT[:-1] + b',"x":"' + b"x" * (size - len(OBJECT) - 7) + b'"}'
        assert len(large) == size
        stream = OBJECT + large + OBJECT
        found = fed([stream[at : at + step] for at in range(0, len(stream), step)])
        assert found == ([HI, HI, HI] if size == MAX_FRAME_BYTES else [HI, FRAME_TOO_LARGE])


def test_two_field_overflow_is_reported_once() -> None:
    codec = TwoFieldCodec()
    assert codec.receive(b"{" * (MAX_FRAME_BYTES + 1)) == [FRAME_TOO_LARGE]
    assert codec.receive(b"}" + OBJECT) == []
    assert codec.receive_eof() == []


@given(st.binary())
def test_two_field_any_text_is_a_message_or_a_fault(text: bytes) -> None:
    assert isinstance(decode_object(text), Say | Fault)


def test_two_field_message_has_a_timestamp() -> None:
    assert two_field.encode(message()) == b'{"username":"ann","message":"hi","timestamp":1.5}\n'


def test_two_field_notices_and_errors_are_from_server() -> None:
    error = events.Error(code=ErrorCode.NAME_TAKEN, message="that name is taken")
    assert two_field.encode(error) == b'{"username":"server","message":"that name is taken"}\n'
    bye = events.Bye(reason=ByeReason.SHUTDOWN)
    assert json.loads(two_field.encode(bye))["username"] == "server"


def test_two_field_event_without_sentence_is_empty() -> None:
    assert two_field.encode(events.PingEvent(id="1")) == b""


@given(st.data())
def test_two_field_every_event_is_lines_of_username_and_message(
    any_event: SearchStrategy[events.Event], data: DataObject
) -> None:
    chunk = two_field.encode(data.draw(any_event))
    assert chunk == b"" or chunk.endswith(b"\n")
    for line in chunk.split(b"\n")[:-1]:
        fields = json.loads(line)
        assert {"username", "message"} <= set(fields) <= {"username", "message", "timestamp"}
        assert isinstance(fields["message"], str)


@given(st.data())
def test_two_field_batch_is_the_lines_of_its_messages(
    any_messages: SearchStrategy[list[events.MessageEvent]], data: DataObject
) -> None:
    messages = data.draw(any_messages)
    chunk = two_field.encode_messages(messages)
    assert chunk == b"".join(map(two_field.encode, messages))
    assert [json.loads(line)["message"] for line in chunk.split(b"\n")[:-1]] == [
        item.message for item in messages
    ]


def test_two_field_largest_message_fits_a_frame() -> None:
    assert len(two_field.encode(message('"' * MAX_MESSAGE_BYTES, "字" * 32))) <= MAX_FRAME_BYTES
