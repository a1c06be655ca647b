from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

import chat_protocol
from chat_protocol.dialects.base import DIALECT_NAMES, NDJSON, Codec, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.events import Event, MessageEvent
from chat_protocol.framing.lines import MAX_FRAME_BYTES

CODECS: list[Callable[[], Codec]] = [NdjsonCodec, TwoFieldCodec, PlainTextCodec, DialectDetector]
FRAGMENTS = [
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b" ", b"\t", b"\r", b"\n", b"\r\n", b"1", b"x", b"hi"),
    *(
        b'{"type":"ping"}',
        b'{"type":"dance"}',
        b'{"username":"a","message":"b"}',
        b'{"a":"}{"}',
        b"{}",
        b"null",
    ),
    *(
        b'"type"',
        b'"type":',
        b'{"type":\n"ping"}',
        b'{"username":\n"type",\n"message":"b"}',
        b'{"a":"\n',
        b'{"a":1,\n',
    ),
    *(
        b"GET / HTTP/1.1\r\n",
        b"CAP LS\r\n",
        b"PROXY",
        b"bye",
        b"/join x",
        b"\xc3\xa9",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"\xef",
    ),
    *(
        b"\xff",
        b"\xff\xfb\x01",
        b"\xff\xfd",
        b"\xff\xf1",
        b"\xff\xfa\x01",
        b"\0",
        b"\x16\x03\x01",
        b"\x7f",
        b"\x1b",
    ),
]
LARGE = [
    b"x" * MAX_FRAME_BYTES,
    b"{" + b"x" * 40_000,
    b"y" * 30_000,
    b'{"a":"' + b"z" * (MAX_FRAME_BYTES - 8) + b'"}',
    b"\0" * 9,
]


def feed_codec(make: Callable[[], Codec], pieces: list[bytes]) -> tuple[int, list[Incoming]]:
    """Feed `pieces` as a connection does: to the successor, once there is one."""
    codec = make()
    found: list[Incoming] = []
    for piece in pieces:
        found += codec.receive(piece)
        codec = getattr(codec, "successor", None) or codec
    found += codec.receive_eof()
    return codec.dialect, found


def chopped(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("make", CODECS)
@settings(max_examples=300)
@given(
    stream=st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join) | st.binary(),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_codec_result_does_not_depend_on_reads(
    make: Callable[[], Codec], stream: bytes, cuts: list[int]
) -> None:
    whole = feed_codec(make, [stream])
    assert feed_codec(make, chopped(stream, cuts)) == whole
    assert feed_codec(make, [bytes([byte]) for byte in stream]) == whole


@pytest.mark.parametrize("make", CODECS)
@given(
    stream=st.lists(st.sampled_from([*FRAGMENTS, *LARGE, *LARGE]), max_size=8).map(b"".join),
    cuts=st.lists(
        st.integers(0, 3 * MAX_FRAME_BYTES) | st.integers(MAX_FRAME_BYTES - 9, MAX_FRAME_BYTES + 9),
        max_size=8,
    ),
)
def test_codec_result_for_large_streams_does_not_depend_on_reads(
    make: Callable[[], Codec], stream: bytes, cuts: list[int]
) -> None:
    assert feed_codec(make, chopped(stream, cuts)) == feed_codec(make, [stream])


@pytest.mark.parametrize("make", CODECS)
@given(data=st.data())
def test_encoder_writes_whole_lines(
    make: Callable[[], Codec], any_event: SearchStrategy[Event], data: DataObject
) -> None:
    encoder = make()
    event = data.draw(any_event)
    chunk = encoder.encode(event)
    assert chunk == b"" or chunk.endswith(b"\n")
    assert b"\r" not in chunk
    if encoder.dialect == NDJSON:
        assert chunk.count(b"\n") == 1


@pytest.mark.parametrize("make", CODECS)
@given(data=st.data())
def test_encoder_batch_is_the_concatenation_of_its_messages(
    make: Callable[[], Codec], any_messages: SearchStrategy[list[MessageEvent]], data: DataObject
) -> None:
    encoder = make()
    messages = data.draw(any_messages)
    assert encoder.encode_messages(messages) == b"".join(map(encoder.encode, messages))


def test_dialects_have_numbers_and_names() -> None:
    numbers = {"ndjson": NdjsonCodec.dialect, "simple": TwoFieldCodec.dialect, "text": PlainTextCodec.dialect}
    assert [numbers[name] for name in DIALECT_NAMES] == [0, 1, 2]


def test_detector_answers_in_ndjson() -> None:
    assert DialectDetector.dialect == NDJSON


def test_version_port_and_lobby_are_those_of_the_protocol() -> None:
    assert (chat_protocol.PROTOCOL_VERSION, chat_protocol.DEFAULT_PORT, chat_protocol.LOBBY) == (
        1,
        7072,
        "lobby",
    )
