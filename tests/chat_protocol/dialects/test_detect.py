import json
import re
from dataclasses import dataclass, field

import pytest

from chat_protocol.commands import Arrive, Hello, Message, Ping, Quit, Rename, Say
from chat_protocol.dialects import detect
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE, NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES

PING = b'{"type":"ping"}'
PAIR = b'{"username":"ann","message":"hi"}'
HI = Say(username="ann", message="hi")
BOM = b"\xef\xbb\xbf"
PUTTY = b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03"
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def detect_pieces(pieces: list[bytes]) -> tuple[Codec, list[Incoming]]:
    """Feed `pieces` as a connection does: to the successor, once there is one."""
    detector = DialectDetector()
    found: list[Incoming] = []
    for piece in pieces:
        found += (detector.successor or detector).receive(piece)
    return detector.successor or detector, found


def detect_all_cuts(stream: bytes) -> tuple[type[Codec], list[Incoming]]:
    """Feed `stream` whole, byte by byte, and split at each index; assert that the results are equal."""
    whole, found = detect_pieces([stream])
    for pieces in (
        [bytes([byte]) for byte in stream],
        *([stream[:place], stream[place:]] for place in range(1, len(stream))),
    ):
        chosen, again = detect_pieces(pieces)
        assert (type(chosen), again) == (type(whole), found)
    return type(whole), found


def codes(found: list[Incoming]) -> list[str]:
    return [item.code if isinstance(item, Fault) else item.__class__.__name__ for item in found]


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


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (b"hello\n", [Message(message="hello")]),
        (b"hello\r\nbye\r\n", [Message(message="hello"), Quit()]),
        (b"\n \r\nhello\n", [Message(message="hello")]),
        (BOM + b"hello\n", [Message(message="hello")]),
        ("élan 字\n".encode(), [Message(message="élan 字")]),
        ("\ufefe\n".encode(), [Message(message="\ufefe")]),
        (BOM + b"/msg bob psst\r\n", [Message(message="psst", to="bob")]),
        ("\n \u200b/msg bob psst\n".encode(), [Message(message="psst", to="bob")]),
        (b"\r\0hello\r\0bye\r\0", [Message(message="hello"), Quit()]),
        (b"hello\rbye\r", [Message(message="hello"), Quit()]),
        (b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0hi\n", [Message(message="hi")]),
        (b"\xff\xfa\x1f{\x00\n\xff\xff\xff\xf0hi\xff\xfa\x18\n\xff\xf0!\n", [Message(message="hi!")]),
        (b"hx\xff\xf7i\n", [Message(message="hi")]),
        (b"/nick ann\n", [Rename(username="ann")]),
        (b"5\n", [Message(message="5")]),
        (b"[1]\n", [Message(message="[1]")]),
        (b'"x"\n', [Message(message='"x"')]),
        (b"say {}\n", [Message(message="say {}")]),
        (b"GETTING there\n", [Message(message="GETTING there")]),
        (b"get / now\n", [Message(message="get / now")]),
        (PUTTY + b"hi\r\n", [Message(message="hi")]),
        (PUTTY + b"\r\nh\xff\xfd\x01i\r\n", [Message(message="hi")]),
        (PUTTY + PUTTY[:5] + b"hi\n", None),
        (b"\xff\xf1\xff\xfb\nhi\n", [Message(message="hi")]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_detector_other_text_is_plain_text(stream: bytes, found: list[Incoming] | None) -> None:
    chosen, said = detect_all_cuts(stream)
    assert chosen == PlainTextCodec
    assert said[0] == Arrive()
    if found is not None:
        assert said[1:] == found


@pytest.mark.parametrize(
    "blank", [b"", b"\n", b"\r\n\r\n", b" ", BOM, BOM[:1], PUTTY, PUTTY[:-1], BOM + b"\n"]
)
def test_detector_skips_blank_lines_bom_and_telnet_negotiation(blank: bytes) -> None:
    assert detect_all_cuts(blank) == (DialectDetector, [])


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b'POST /lobby HTTP/1.1\r\n\r\n{"username":"ann","message":"hi"}',
        b"\r\n\r\nPOST / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.0\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\n",
        b"hello /join HTTP/1.1\r\n",
        b"HEAD\n",
    ],
)
def test_detector_web_request_gets_a_hint_and_is_closed(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert_closed(chosen, found, "not a web server")


@pytest.mark.parametrize("line", [b"CAP LS 302", b"NICK ann", b"USER ann 0 * :Ann", b"PASS secret", b"NICK"])
def test_detector_irc_client_gets_a_hint_and_is_closed(line: bytes) -> None:
    assert_closed(*detect_all_cuts(line + b"\r\n"), "IRC")


def test_detector_proxy_protocol_gets_a_hint_and_is_closed() -> None:
    assert_closed(*detect_all_cuts(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + PING + b"\n"), "PROXY")
    assert_closed(*detect_all_cuts(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), "not text")


def test_detector_tls_is_rejected_at_its_first_byte() -> None:
    assert_closed(*detect_all_cuts(TLS), "TLS")
    assert_closed(*detect_all_cuts(b"\n" + TLS[:1]), "TLS")


@pytest.mark.parametrize(
    "stream",
    [
        b"\x00h",
        b"\x1e\n\x00/msg",
        b"\x00\x01",
        b"\0" * (MAX_FRAME_BYTES + 1),
        b"\x1b[A",
        b"\x7fELF\x02",
        b"hi\x00there\n",
        b"hi\x08\n",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\x80\x2e\x01\x00\x02",
        b"caf\xe9\n",
        b"\xfe\xff\n",
        b"\xff\n",
        b"\xff\xff\n",
        "hi\n".encode("utf-16-le"),
        "\ufeffhi\n".encode("utf-16-le"),
        "\ufeffhi\n".encode("utf-16-be"),
        b"\xff\xfb\x01\x01",
        b"GET \x00 HTTP/1.1\r\n",
    ],
)
def test_detector_binary_data_gets_a_hint_and_is_closed(stream: bytes) -> None:
    if len(stream) > 1000:
        assert_closed(DialectDetector, detect_pieces([stream])[1], "not")
    else:
        assert_closed(*detect_all_cuts(stream), "not")


def assert_closed(chosen: type[Codec], found: list[Incoming], word: str) -> None:
    """Assert that no dialect was detected, and that the only result is a fault that closes."""
    assert chosen == DialectDetector
    [fault] = found
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.BAD_FRAME
    assert fault.close
    assert word in fault.message


def test_detector_after_giving_up_ignores_input() -> None:
    for first in (b"GET / HTTP/1.1\r\n", TLS, b"x" * (MAX_FRAME_BYTES + 1), b"{" * (MAX_FRAME_BYTES + 1)):
        detector = DialectDetector()
        assert len(detector.receive(first)) == 1
        assert detector.receive(b"\n" + PING + b"\n") == []
        assert detector.receive_eof() == []
        assert detector.successor is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b" \n", []),
        (BOM, []),
        (b"hi", [Arrive(), Message(message="hi")]),
        (b"bye", [Arrive(), Quit()]),
        (PUTTY + b"hi", [Arrive(), Message(message="hi")]),
        (b"hi\xff\xfb", [Arrive(), Message(message="hi")]),
        (b"hi\xff\xfa\x1f", [Arrive(), Message(message="hi")]),
        (PUTTY + b"\xff", []),
    ],
)
def test_detector_eof_ends_a_line(stream: bytes, expected: list[Incoming]) -> None:
    detector = DialectDetector()
    assert detector.receive(stream) == []
    assert detector.receive_eof() == expected


@pytest.mark.parametrize(
    ("stream", "word"),
    [
        (b"GET", "web"),
        (b"NICK x", "IRC"),
        (b"\xef", "UTF-8"),
        (b"\0\0", "binary"),
        (b'{"type":"ping"', "not finished"),
    ],
)
def test_detector_eof_can_reject_another_protocol_or_half_an_object(stream: bytes, word: str) -> None:
    detector = DialectDetector()
    assert detector.receive(stream) == []
    assert_closed(DialectDetector, list(detector.receive_eof()), word)
    assert detector.receive_eof() == []


def test_detector_answers_telnet_requests_before_the_first_line_and_in_it() -> None:
    for stream in (b"\xff\xf4\xff\xfd\x06", b"\n\xff\xfd\x06", b"h\xff\xfd\x06", b"h\xff\xfd\x06i\n"):
        for pieces in ([stream], [bytes([byte]) for byte in stream]):
            codec: Codec = DialectDetector()
            sent = b""
            for piece in pieces:
                codec.receive(piece)
                while codec.has_output or codec.successor:  # as a connection does
                    sent += codec.output() if codec.has_output else b""
                    codec = codec.successor or codec
            assert sent == b"\xff\xfc\x06"


def test_detector_endless_subnegotiation_is_a_fault_with_bye() -> None:
    for before in (b"", b"\n", b"h"):
        for step in (1000, 2 * MAX_FRAME_BYTES):
            stream = before + b"\xff\xfa" + b"x" * (MAX_FRAME_BYTES + 1) + b"\xff\xf0i\n"
            chosen, found = detect_pieces([stream[at : at + step] for at in range(0, len(stream), step)])
            assert (type(chosen), found) == (DialectDetector, [FRAME_TOO_LARGE])


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
