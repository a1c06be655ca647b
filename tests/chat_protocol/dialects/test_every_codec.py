from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

import chat_protocol
from chat_protocol.dialects.base import Codec, Encoding, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import NDJSON, NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.table import ENCODINGS
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
        b"\xff\xf0",
        b"\xff\xff",
        b"\xff\xf7",
        b"\x1e",
        b"\xc2\xa0/msg a b",
        b";",
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


def feed_codec(make: Callable[[], Codec], pieces: list[bytes]) -> tuple[Encoding, list[Incoming]]:
    """Feed `pieces` as a connection does: to the successor, once there is one."""
    codec = make()
    found: list[Incoming] = []
    for piece in pieces:
        found += codec.receive(piece)
        codec = codec.successor or codec
    found += codec.receive_eof()
    return codec.encoding, found


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
def test_codec_has_nothing_to_say_by_itself_without_telnet_commands(make: Callable[[], Codec]) -> None:
    codec = make()
    codec.receive(b"/help\n")
    assert not codec.has_output
    assert codec.output() == b""


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.dialect)
@given(data=st.data())
def test_encoding_writes_whole_lines(
    encoding: Encoding, any_event: SearchStrategy[Event], data: DataObject
) -> None:
    event = data.draw(any_event)
    chunk = encoding.encode(event)
    assert chunk == b"" or chunk.endswith(b"\n")
    assert b"\r" not in chunk
    if encoding is NDJSON:
        assert chunk.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.dialect)
@given(data=st.data())
def test_encoding_batch_is_the_concatenation_of_its_messages(
    encoding: Encoding, any_messages: SearchStrategy[list[MessageEvent]], data: DataObject
) -> None:
    messages = data.draw(any_messages)
    assert encoding.encode_messages(messages) == b"".join(map(encoding.encode, messages))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda each: each.dialect)
@given(data=st.data())
def test_framed_encoding_frames_each_chunk_that_is_not_empty(
    encoding: Encoding,
    any_event: SearchStrategy[Event],
    any_messages: SearchStrategy[list[MessageEvent]],
    data: DataObject,
) -> None:
    def frame(chunk: bytes) -> bytes:
        assert chunk
        return b"<" + chunk + b">"

    # Given an encoding in a layer inside another layer
    framed = encoding.framed(lambda chunk: chunk).framed(frame)
    event, messages = data.draw(any_event), data.draw(any_messages.filter(bool))
    # Then the innermost one is shared, and its chunks are framed
    assert framed.base is encoding
    assert (framed.dialect, framed.has_pings) == (encoding.dialect, encoding.has_pings)
    plain = encoding.encode(event)
    assert framed.encode(event) == (b"<" + plain + b">" if plain else b"")
    assert framed.encode_messages(messages) == b"<" + encoding.encode_messages(messages) + b">"


def test_encodings_have_the_names_of_logs_and_metrics() -> None:
    assert [encoding.dialect for encoding in ENCODINGS] == ["ndjson", "simple", "text"]
    codecs = (NdjsonCodec, TwoFieldCodec, PlainTextCodec)
    assert [codec.encoding for codec in codecs] == list(ENCODINGS)
    assert [encoding.has_pings for encoding in ENCODINGS] == [True, False, False]


def test_detector_answers_in_ndjson() -> None:
    assert DialectDetector.encoding is NDJSON


def test_version_port_and_lobby_are_those_of_the_protocol() -> None:
    assert (chat_protocol.PROTOCOL_VERSION, chat_protocol.DEFAULT_PORT, chat_protocol.LOBBY) == (
        1,
        7072,
        "lobby",
    )
