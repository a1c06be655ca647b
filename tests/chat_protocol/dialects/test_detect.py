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
    sniffer = DialectDetector()
    found: list[Incoming] = []
    for piece in pieces:
        found += (sniffer.successor or sniffer).receive(piece)
    return sniffer.successor or sniffer, found


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
        (b'{"username":"ann","type":"hello"}\n', [Hello(username="ann")]),
    ],
)
def test_an_object_with_a_type_is_native(stream: bytes, found: list[Incoming]) -> None:
    assert detect_all_cuts(stream) == (NdjsonCodec, found)


@pytest.mark.parametrize("stream", [b'{"type":null}\n', b'{"type":{}}\n', b'{"type":"dance"}\n'])
def test_an_unknown_type_is_native_too(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.UNKNOWN_TYPE])


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (PAIR, [HI]),
        (PAIR + b"\n" + PAIR + PAIR, [HI, HI, HI]),
        (b" \n" + PAIR, [HI]),
        (BOM + PAIR, [HI]),
        (b'{\n  "username": "ann",\n\n  "message": "hi"\n}\n', [HI]),
        (b'{"username":"ann","x":{"type":\n"ping"},"message":"hi"}', [HI]),
        (b'{"username":"type",\n"message":"hi"}', [Say(username="type", message="hi")]),
        (b'{"username":"ann",\n"message":"\\"type\\":"}', [Say(username="ann", message='"type":')]),
        (b'{"username":"ann","x":' + b"9" * 5000 + b',\n"message":"hi"}', [HI]),
        (b'{"username":"ann","x":-1.5e3,"y":[true,false,null],\n"message":"hi"}', [HI]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_object_without_a_type_is_two_field_json(stream: bytes, found: list[Incoming]) -> None:
    if len(stream) > 1000:
        chosen, again = detect_pieces([bytes([byte]) for byte in stream])
        assert (type(chosen), again) == (TwoFieldCodec, found)
    else:
        assert detect_all_cuts(stream) == (TwoFieldCodec, found)


def test_two_field_json_over_many_lines_is_known_wherever_json_allows_a_line_break() -> None:
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
def test_a_native_frame_cut_short_is_answered_at_its_newline(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.BAD_FRAME, "Ping"])


@pytest.mark.parametrize("broken", [b"{bad}", b'{"type":}', b"{\xff}", b'{"a":"open', b'{"a":1,"a"}'])
def test_what_is_wrong_before_the_dialect_is_known_is_answered_and_the_next_object_decides(
    broken: bytes,
) -> None:
    for then, chosen in ((PING + b"\n", NdjsonCodec), (PAIR, TwoFieldCodec)):
        kind, found = detect_all_cuts(broken + b"\n" + then)
        assert (kind, codes(found)) == (chosen, [ErrorCode.BAD_FRAME, codes(found)[-1]])
        assert isinstance(found[-1], Ping | Say)


def test_each_object_before_the_dialect_is_known_is_judged_at_its_own_first_newline() -> None:
    chosen, found = detect_all_cuts(b'{"a":\n"open\n{"type":"x"\n' + PING + b"\n")
    assert (chosen, codes(found)) == (NdjsonCodec, [ErrorCode.BAD_FRAME, ErrorCode.BAD_FRAME, "Ping"])


@pytest.mark.parametrize("rest", [b"}\n", b'"b":2}\n', b"x" * (MAX_FRAME_BYTES + 1)], ids=len)
def test_what_the_first_newline_decides_no_later_byte_can_change(rest: bytes) -> None:
    for first in (b"{x\n", b'{"type":1,\n'):
        chosen, found = detect_pieces([first, rest])
        again, found_again = detect_pieces([first + rest])
        assert isinstance(chosen, NdjsonCodec)
        assert isinstance(again, NdjsonCodec)
        assert found == found_again
        assert codes(found)[0] == ErrorCode.BAD_FRAME
        assert len(found) == 2


def test_a_first_line_that_is_too_large_is_not_looked_at_beyond_its_bound() -> None:
    stream = b"x" * (MAX_FRAME_BYTES + 1) + b"\0"
    assert detect_pieces([stream])[1] == detect_pieces([stream[:-1], stream[-1:]])[1] == [FRAME_TOO_LARGE]


@pytest.mark.parametrize("depth", [12_000, 30_000])  # Python 3.13 accepts 10,000
def test_an_object_nested_too_deep_is_a_fault_and_the_next_one_decides(depth: int) -> None:
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
def test_any_other_text_is_plain_text_from_its_first_line_on(
    stream: bytes, found: list[Incoming] | None
) -> None:
    chosen, said = detect_all_cuts(stream)
    assert chosen == PlainTextCodec
    assert said[0] == Arrive()
    if found is not None:
        assert said[1:] == found


@pytest.mark.parametrize(
    "blank", [b"", b"\n", b"\r\n\r\n", b" ", BOM, BOM[:1], PUTTY, PUTTY[:-1], BOM + b"\n"]
)
def test_blank_lines_and_what_programs_send_by_themselves_choose_nothing(blank: bytes) -> None:
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
def test_web_request_gets_a_hint_and_is_not_a_message(stream: bytes) -> None:
    chosen, found = detect_all_cuts(stream)
    assert_closed(chosen, found, "not a web server")


@pytest.mark.parametrize("line", [b"CAP LS 302", b"NICK ann", b"USER ann 0 * :Ann", b"PASS secret", b"NICK"])
def test_irc_client_gets_a_hint_and_is_closed(line: bytes) -> None:
    assert_closed(*detect_all_cuts(line + b"\r\n"), "IRC")


def test_proxy_protocol_gets_a_hint_and_is_closed() -> None:
    assert_closed(*detect_all_cuts(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + PING + b"\n"), "PROXY")
    assert_closed(*detect_all_cuts(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), "not text")


def test_tls_is_rejected_at_its_first_byte() -> None:
    assert_closed(*detect_all_cuts(TLS), "TLS")
    assert_closed(*detect_all_cuts(b"\n" + TLS[:1]), "TLS")


@pytest.mark.parametrize(
    "stream",
    [
        b"\x00",
        b"\x1b[A",
        b"\x7fELF\x02",
        b"hi\x00there\n",
        b"hi\x08\n",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\x80\x2e\x01\x00\x02",
        b"caf\xe9\n",
        b"\xfe\xff\n",
        b"\xff\n",
        b"\xff\xfb\x01\x01",
        b"GET \x00 HTTP/1.1\r\n",
    ],
)
def test_binary_data_gets_a_hint_and_is_closed(stream: bytes) -> None:
    assert_closed(*detect_all_cuts(stream), "not")


def assert_closed(chosen: type[Codec], found: list[Incoming], word: str) -> None:
    """Assert that no dialect was detected, and that the only result is a fault that closes."""
    assert chosen == DialectDetector
    [fault] = found
    assert isinstance(fault, Fault)
    assert fault.code == ErrorCode.BAD_FRAME
    assert fault.close
    assert word in fault.message


def test_after_it_has_given_up_nothing_counts() -> None:
    for first in (b"GET / HTTP/1.1\r\n", TLS, b"x" * (MAX_FRAME_BYTES + 1), b"{" * (MAX_FRAME_BYTES + 1)):
        sniffer = DialectDetector()
        assert len(sniffer.receive(first)) == 1
        assert sniffer.receive(b"\n" + PING + b"\n") == []
        assert sniffer.receive_eof() == []
        assert sniffer.successor is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b" \n", []),
        (BOM, []),
        (b"hi", [Arrive(), Message(message="hi")]),
        (b"bye", [Arrive(), Quit()]),
        (PUTTY + b"hi", [Arrive(), Message(message="hi")]),
    ],
)
def test_the_end_of_input_ends_a_line(stream: bytes, expected: list[Incoming]) -> None:
    sniffer = DialectDetector()
    assert sniffer.receive(stream) == []
    assert sniffer.receive_eof() == expected


@pytest.mark.parametrize(
    ("stream", "word"),
    [(b"GET", "web"), (b"NICK x", "IRC"), (b"\xef", "UTF-8"), (b'{"type":"ping"', "not finished")],
)
def test_the_end_of_input_can_show_a_stranger_or_half_an_object(stream: bytes, word: str) -> None:
    sniffer = DialectDetector()
    assert sniffer.receive(stream) == []
    assert_closed(DialectDetector, list(sniffer.receive_eof()), word)
    assert sniffer.receive_eof() == []


def test_the_end_of_input_after_a_broken_object_says_nothing_more() -> None:
    sniffer = DialectDetector()
    assert codes(list(sniffer.receive(b"{bad}\n"))) == [ErrorCode.BAD_FRAME]
    assert sniffer.receive_eof() == []


@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
@pytest.mark.parametrize(
    ("begin", "finish", "chosen"),
    [
        (b'{"type":"ping","x":"', b'"}', NdjsonCodec),
        (b'{"x":"', b'"}', TwoFieldCodec),
        (b"x", b"", PlainTextCodec),
    ],
)
def test_a_first_frame_of_65_536_bytes_passes_and_one_of_65_537_ends_the_connection(
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


def test_a_first_line_of_text_is_looked_at_once_though_it_comes_byte_by_byte(
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
def test_an_unfinished_object_is_judged_once_at_its_first_newline(
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
