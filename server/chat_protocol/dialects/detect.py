"""Dialect detection from the first bytes of a connection; other protocols are rejected with a hint.

Until the dialect is known, faults are answered in NDJSON. `DialectDetector.successor` is the codec that takes
over. The result depends on the bytes received, never on how they were split into reads.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol.commands import Arrive
from chat_protocol.dialects import ndjson
from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.ndjson import NDJSON, NdjsonCodec
from chat_protocol.dialects.plain_text import PlainTextCodec, strip_telnet
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES

# Skipped before the first character: spaces and blank lines (a web request may begin so, RFC 9112 2.2, and
# the binary PROXY header does), a byte order mark, and telnet negotiation (RFC 854).
_LEADING_BYTES = re.compile(rb"(?:[ \t\r\n]|\xef\xbb\xbf|\xff(?:[\xfb-\xfe].|[\xf0-\xf9]))*", re.DOTALL)
_PARTIAL_LEADING_BYTES = re.compile(rb"\xef\xbb?|\xff[\xfb-\xfe]?")
_HTTP_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"}
)
_IRC_COMMANDS: Final = frozenset({b"CAP", b"NICK", b"USER", b"PASS"})
_HTTP_REQUEST_LINE = re.compile(rb"\S+ \S+ HTTP/\d")
# Control characters, unless one is the option of a telnet command.
_BINARY_BYTES = re.compile(rb"(?<!\xff[\xfb-\xfe])[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TLS_HANDSHAKE_BYTE: Final = 0x16  # content type of a TLS connection's first record (RFC 8446, 5.1)

_prefix_decoder = json.JSONDecoder(parse_int=str)  # as text: Python's int() rejects more than 4,300 digits
_JSON_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}\[\]]', re.DOTALL)


class _TypeProbe(msgspec.Struct):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_type = msgspec.json.Decoder(_TypeProbe).decode


class DialectDetector(Codec):
    """The codec of a connection whose dialect is not known yet."""

    __slots__ = (
        "_first_char_seen",
        "_first_line",
        "_first_object_checked",
        "_gave_up",
        "_objects",
        "_splitter_bytes",
        "successor",
    )

    encoding = NDJSON

    def __init__(self) -> None:
        self._first_line = bytearray()  # a first line that is not JSON
        self._first_char_seen = False  # whether the leading bytes have been skipped
        self._objects: ObjectSplitter | None = None  # buffers a first line that is JSON
        self._splitter_bytes = 0  # bytes passed to the splitter before this read
        self._first_object_checked = False  # whether an unfinished object was examined at its newline
        self._gave_up = False  # whether the peer speaks another protocol, or sent too large a frame
        self.successor: Codec | None = None

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return faults until the dialect is known, then everything that was received so far."""
        if self._gave_up:
            return []
        if self._objects is not None:
            return self._detect_json(self._objects, data)
        held = self._first_line
        looked = len(held) if self._first_char_seen else 0
        held += data
        if not self._first_char_seen:
            before = _LEADING_BYTES.match(held)
            assert before is not None
            del held[: before.end()]
            if not held or _PARTIAL_LEADING_BYTES.fullmatch(held):
                return []
            self._first_char_seen = True
        first = held[0]
        if first == ord("{"):
            self._objects = ObjectSplitter()
            begun = bytes(held)
            held.clear()  # the splitter buffers it now
            return self._detect_json(self._objects, begun)
        if first == _TLS_HANDSHAKE_BYTE:
            return self._give_up(_foreign_protocol("TLS is not supported; connect without it"))
        return self._detect_text(looked)

    def receive_eof(self) -> Sequence[Incoming]:
        """Return what the end of input completes: a last line without a newline."""
        if self._objects is not None:
            rest = self._objects.take_unfinished()
            return self._give_up(_foreign_protocol("the JSON object is not finished")) if rest else []
        if not self._first_line:
            return []
        found = self.receive(b"\n")
        return [*found, *self.successor.receive_eof()] if self.successor else found

    def _hand_over(self, codec: Codec, data: bytes, first: Sequence[Incoming]) -> Sequence[Incoming]:
        """Make `codec` the successor; it decodes `data`, the stream from where the dialect begins."""
        self.successor = codec
        self._first_line.clear()
        return [*first, *codec.receive(data)] if data else first

    def _give_up(self, fault: Fault) -> list[Incoming]:
        self._gave_up = True
        self._first_line.clear()
        return [fault]

    def _detect_json(self, objects: ObjectSplitter, data: bytes) -> Sequence[Incoming]:
        """Decide by the first whole object: NDJSON if it has a `type`, else two-field JSON."""
        faults: list[Incoming] = []
        start = 0
        while start < len(data):
            # Line by line, as the end of the first line may decide.
            end = data.find(b"\n", start) + 1 or len(data)
            for piece in objects.feed(data[start:end]):
                has_type = _has_type(piece.text)
                if not isinstance(has_type, Fault):
                    rest = data[piece.end - self._splitter_bytes :]
                    return self._hand_over(
                        NdjsonCodec() if has_type else TwoFieldCodec(), piece.text + rest, faults
                    )
                faults.append(has_type)
                self._first_object_checked = False
            if objects.overflowed:
                return faults + self._give_up(ndjson.FRAME_TOO_LARGE)
            if (
                not self._first_object_checked
                and data[end - 1] == ord("\n")
                and (line := objects.peek_unfinished())
            ):
                self._first_object_checked = True
                if _is_broken_native_frame(line):
                    return self._hand_over(NdjsonCodec(), line + data[end:], faults)
            start = end
        self._splitter_bytes += len(data)
        return faults

    def _detect_text(self, looked: int) -> Sequence[Incoming]:
        """Decide by the first whole line: plain text, or a protocol that is not supported."""
        held = self._first_line
        newline = held.find(b"\n", looked)
        size = len(held) if newline < 0 else newline
        if _BINARY_BYTES.search(held, looked, min(size, MAX_FRAME_BYTES + 1)):
            return self._give_up(_foreign_protocol("the first bytes are binary, not text"))
        if size - held.endswith(b"\r", 0, size) > MAX_FRAME_BYTES:
            return self._give_up(ndjson.FRAME_TOO_LARGE)
        if newline < 0:
            return []
        line = strip_telnet(bytes(held[:newline]))
        word, *_ = line.split(maxsplit=1) or [b""]
        if word in _HTTP_METHODS or _HTTP_REQUEST_LINE.match(line):
            return self._give_up(
                _foreign_protocol("this is a chat server, not a web server; use chat-client, or nc")
            )
        if word in _IRC_COMMANDS:
            return self._give_up(_foreign_protocol("IRC is not supported; use chat-client, or nc"))
        if word == b"PROXY":
            return self._give_up(_foreign_protocol("the PROXY protocol is not supported"))
        try:
            line.decode()
        except UnicodeDecodeError:
            return self._give_up(_foreign_protocol("the text is not UTF-8"))
        return self._hand_over(PlainTextCodec(), bytes(held), [Arrive()])


def _has_type(text: bytes) -> bool | Fault:
    """Return whether the object has a `type`, or a fault if it cannot be decoded."""
    try:
        return _decode_type(text).type is not msgspec.UNSET
    except (*ndjson.DECODE_ERRORS, RecursionError) as error:
        return ndjson.undecodable_fault(error, "a JSON object on one line")


def _is_broken_native_frame(line: bytes) -> bool:
    """Return whether `line`, an object that continues after a newline, is a broken NDJSON frame.

    Two-field JSON may span lines, an NDJSON frame may not. It is NDJSON if it has a `type`, and broken if the
    JSON is invalid before its end.
    """
    depth = 0
    for token in _JSON_TOKEN.finditer(line):
        match token[0][0]:
            case 0x7B | 0x5B:
                depth += 1
            case 0x7D | 0x5D:
                depth -= 1
            case _ if depth == 1 and token[1] and token[0].startswith(b'"type"'):
                return True
    try:
        text = line.decode().rstrip()
        _prefix_decoder.decode(text)
    except json.JSONDecodeError as error:
        return error.pos < len(text)
    except (UnicodeDecodeError, RecursionError):
        return True
    return False


def _foreign_protocol(message: str) -> Fault:
    return Fault(ErrorCode.BAD_FRAME, message, close=True)
