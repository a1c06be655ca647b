import pytest

from chat_protocol.commands import Arrive, Message, Quit, Rename
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from support.detection import assert_closed, detect_all_cuts, detect_pieces

PING = b'{"type":"ping"}'
BOM = b"\xef\xbb\xbf"
PUTTY = b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03"
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


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
