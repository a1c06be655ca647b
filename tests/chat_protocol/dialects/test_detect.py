import json
import re
from dataclasses import dataclass, field

import pytest

from chat_protocol.commands import Hello, Ping, Say
from chat_protocol.dialects import detect
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE, NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from support.detection import codes, detect_all_cuts, detect_pieces

PING = b'{"type":"ping"}'
PAIR = b'{"username":"ann","message":"hi"}'
HI = Say(username="ann", message="hi")
BOM = b"\xef\xbb\xbf"
PUTTY = b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03"
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (PING, []),
        (PING + b"\n", [Ping()]),
        (PING + b"\r\n" + PING + b"\n", [Ping(), Ping()]),
        (b"  \r\n\n\t" + PING + b"\n", [Ping()]),
        (BOM + PING + b"\n", [Ping()]),
        (b"\0\0" + PING + b"\n", [Ping()]),
        (b"\x1e" + BOM + b"\0 " + PING + b"\n", [Ping()]),
        (b'{"username":"ann","type":"hello"}\n', [Hello(username="ann")]),
    ],
)
def test_detector_object_with_a_type_is_ndjson(stream: bytes, found: list[Incoming]) -> None:
    assert detect_all_cuts(stream) == (NdjsonCodec, found)


@pytest.mark.parametrize("stream", [b'{"type":null}\n', b'{"type":{}}\n', b'{"type":"dance"}\n'])
def test_detector_object_with_an_unknown_type_is_ndjson(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.UNKNOWN_TYPE])


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (PAIR, [HI]),
        (PAIR + b"\n" + PAIR + PAIR, [HI, HI, HI]),
        (b" \n" + PAIR, [HI]),
        (BOM + PAIR, [HI]),
        (b"\0\x1e" + BOM + PAIR + b"\0" * 20 + PAIR, [HI, HI]),
        (PAIR + BOM + PAIR + b"\x1e" + PAIR, [HI, HI, HI]),
        (b'{\n  "username": "ann",\n\n  "message": "hi"\n}\n', [HI]),
        (b'{"username":"ann","x":{"type":\n"ping"},"message":"hi"}', [HI]),
        (b'{"username":"type",\n"message":"hi"}', [Say(username="type", message="hi")]),
        (b'{"username":"ann",\n"message":"\\"type\\":"}', [Say(username="ann", message='"type":')]),
        (b'{"username":"ann","x":' + b"9" * 5000 + b',\n"message":"hi"}', [HI]),
        (b'{"username":"ann","x":-1.5e3,"y":[true,false,null],\n"message":"hi"}', [HI]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_detector_object_without_a_type_is_two_field(stream: bytes, found: list[Incoming]) -> None:
    if len(stream) > 1000:
        chosen, again = detect_pieces([bytes([byte]) for byte in stream])
        assert (type(chosen), again) == (TwoFieldCodec, found)
    else:
        assert detect_all_cuts(stream) == (TwoFieldCodec, found)


def test_detector_two_field_object_may_span_lines() -> None:
    tokens = [
        b"{",
        b'"a"',
        b":",
        b"[",
        b"1",
        b",",
        b"{",
        b'"b"',
        b":",
        b'"c"',
        b"}",
        b"]",
        b",",
        b'"d"',
        b":",
        b"null",
    ]
    for place in range(1, len(tokens) + 1):
        stream = b"".join(tokens[:place]) + b" \r\n" + b"".join(tokens[place:]) + b"}"
        chosen, found = detect_all_cuts(stream)
        assert (chosen, codes(found)) == (TwoFieldCodec, [ErrorCode.INVALID_FIELD])


@pytest.mark.parametrize(
    "stream",
    [
        b'{"type":"hello","username":"ann"\n' + PING + b"\n",
        b'{"username":"ann","type":"hello",\n' + PING + b"\n",
        b"{hello\n" + PING + b"\n",
        b'{"username" "ann"\n' + PING + b"\n",
        b'{"username":tru\n' + PING + b"\n",
        b'{"username":"\xff",\n' + PING + b"\n",
    ],
)
def test_detector_broken_ndjson_frame_is_a_fault_at_its_newline(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.BAD_FRAME, "Ping"])


@pytest.mark.parametrize("broken", [b"{bad}", b'{"type":}', b"{\xff}", b'{"a":"open', b'{"a":1,"a"}'])
def test_detector_after_a_fault_the_next_object_decides(
    broken: bytes,
) -> None:
    for then, chosen in ((PING + b"\n", NdjsonCodec), (PAIR, TwoFieldCodec)):
        kind, found = detect_all_cuts(broken + b"\n" + then)
        assert (kind, codes(found)) == (chosen, [ErrorCode.BAD_FRAME, codes(found)[-1]])
        assert isinstance(found[-1], Ping | Say)


def test_detector_object_with_a_lone_surrogate_is_answered_in_its_dialect() -> None:
    chosen, found = detect_all_cuts(rb'{"type":"hello","username":"\udce9","ref":"h"}' + b"\n" + PING + b"\n")
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.INVALID_FIELD, "Ping"])
    assert isinstance(found[0], Fault)
    assert found[0].ref == "h"
    chosen, found = detect_all_cuts(rb'{"username":"\udce9","message":"hi"}' + PAIR)
    assert (chosen, codes(found)) == (TwoFieldCodec, [ErrorCode.INVALID_FIELD, "Say"])


def test_detector_examines_each_object_at_its_first_newline() -> None:
    chosen, found = detect_all_cuts(b'{"a":\n"open\n{"type":"x"\n' + PING + b"\n")
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.BAD_FRAME, ErrorCode.BAD_FRAME, "Ping"])


@pytest.mark.parametrize("rest", [b"}\n", b'"b":2}\n', b"x" * (MAX_FRAME_BYTES + 1)], ids=len)
def test_detector_decision_at_the_first_newline_is_final(rest: bytes) -> None:
    for first in (b"{x\n", b'{"type":1,\n'):
        chosen, found = detect_pieces([first, rest])
        again, found_again = detect_pieces([first + rest])
        assert isinstance(chosen, NdjsonCodec)
        assert isinstance(again, NdjsonCodec)
        assert found == found_again
        assert codes(found)[0] == ErrorCode.BAD_FRAME
        assert len(found) == 2


def test_detector_does_not_scan_beyond_the_frame_limit() -> None:
    stream = b"x" * (MAX_FRAME_BYTES + 1) + b"\0"
    assert detect_pieces([stream])[1] == detect_pieces([stream[:-1], stream[-1:]])[1] == [FRAME_TOO_LARGE]


@pytest.mark.parametrize("depth", [12_000, 30_000])  # Python 3.13 accepts 10,000
def test_detector_deeply_nested_object_is_a_fault(depth: int) -> None:
    for newline in (b"", b"\n"):
        stream = b'{"a":' + b"[" * depth + newline + b"]" * depth + b"}\n" + PING + b"\n"
        chosen, found = detect_pieces([stream])
        assert isinstance(chosen, NdjsonCodec)
        assert set(codes(found[:-1])) == {ErrorCode.BAD_FRAME}
        assert found[-1] == Ping()


def test_detector_after_giving_up_ignores_input() -> None:
    for first in (b"GET / HTTP/1.1\r\n", TLS, b"x" * (MAX_FRAME_BYTES + 1), b"{" * (MAX_FRAME_BYTES + 1)):
        detector = DialectDetector()
        assert len(detector.receive(first)) == 1
        assert detector.receive(b"\n" + PING + b"\n") == []
        assert detector.receive_eof() == []
        assert detector.successor is None


def test_detector_eof_after_a_fault_adds_nothing() -> None:
    detector = DialectDetector()
    assert codes(list(detector.receive(b"{bad}\n"))) == [ErrorCode.BAD_FRAME]
    assert detector.receive_eof() == []


@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
@pytest.mark.parametrize(
    ("begin", "finish", "chosen"),
    [
        (b'{"type":"ping","x":"', b'"}', NdjsonCodec),
        (b'{"x":"', b'"}', TwoFieldCodec),
        (b"x", b"", PlainTextCodec),
    ],
)
def test_detector_first_frame_over_65_536_bytes_is_a_fault_with_bye(
    begin: bytes, finish: bytes, chosen: type[Codec], step: int
) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        stream = begin + b"x" * (size - len(begin + finish)) + finish + b"\r\n"
        codec, found = detect_pieces([stream[at : at + step] for at in range(0, len(stream), step)])
        if size == MAX_FRAME_BYTES:
            assert isinstance(codec, chosen)
            assert FRAME_TOO_LARGE not in found
        else:
            assert (type(codec), found) == (DialectDetector, [FRAME_TOO_LARGE])


@dataclass
class CountingPattern:
    """A pattern that counts the bytes it scans."""

    pattern: re.Pattern[bytes]
    looked: int = 0

    def search(self, text: bytearray, start: int, end: int) -> re.Match[bytes] | None:
        self.looked += end - start
        return self.pattern.search(text, start, end)


def test_detector_scans_a_first_line_in_linear_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting = CountingPattern(detect._BINARY_BYTES)
    monkeypatch.setattr(detect, "_BINARY_BYTES", counting)
    detect_pieces([b"x"] * MAX_FRAME_BYTES)
    assert counting.looked <= 2 * MAX_FRAME_BYTES


@dataclass
class CountingJson:
    """A decoder that counts the characters it is passed."""

    given: list[int] = field(default_factory=list)

    def decode(self, text: str) -> object:
        self.given.append(len(text))
        return json.loads(text)


@pytest.mark.parametrize(
    "stream", [b"{" + b"\n" * 60_000, b'{"a":[' + b"1,\n" * 20_000, b'{"a":"' + b"x" * 60_000]
)
@pytest.mark.parametrize("step", [1, 100, MAX_FRAME_BYTES])
def test_detector_examines_an_unfinished_object_once(
    stream: bytes, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = CountingJson()
    copies: list[int] = []
    unfinished = ObjectSplitter.peek_unfinished

    def copy(splitter: ObjectSplitter) -> bytes:
        text = unfinished(splitter)
        copies.append(len(text))
        return text

    monkeypatch.setattr(detect, "_prefix_decoder", counting)
    monkeypatch.setattr(ObjectSplitter, "peek_unfinished", copy)
    detect_pieces([stream[at : at + step] for at in range(0, len(stream), step)])
    assert len(counting.given) == len(copies) == (b"\n" in stream)
