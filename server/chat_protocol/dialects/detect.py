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
from chat_protocol.dialects.plain_text import PlainTextCodec
from chat_protocol.dialects.two_field import TwoFieldCodec
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.framing.first_char import FirstCharFinder
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.framing.telnet import TelnetFilter, apply_erasures
from chat_protocol.message_text import decode_text

_HTTP_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"}
)
_IRC_COMMANDS: Final = frozenset({b"CAP", b"NICK", b"USER", b"PASS"})
_HTTP_REQUEST_LINE = re.compile(rb"\S+ \S+ HTTP/\d")
_BINARY_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TLS_HANDSHAKE_BYTE: Final = 0x16  # content type of a TLS connection's first record (RFC 8446, 5.1)

_prefix_decoder = json.JSONDecoder(parse_int=str)  # as text: Python's int() rejects more than 4,300 digits
_JSON_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}\[\]]', re.DOTALL)


class _TypeProbe(msgspec.Struct):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_type = msgspec.json.Decoder(_TypeProbe).decode


class DialectDetector(Codec):
    """The codec of a connection whose dialect is not known yet."""

    __slots__ = (
        "_finder",
        "_first_line",
        "_first_object_checked",
        "_gave_up",
        "_objects",
        "_splitter_bytes",
        "_telnet",
        "has_output",
        "successor",
    )

    encoding = NDJSON

    def __init__(self) -> None:
        self._telnet = TelnetFilter()
        self._finder: FirstCharFinder | None = FirstCharFinder(self._telnet)  # None: the character is found
        self._first_line = bytearray()  # a first line that is not JSON, without its telnet commands
        self._objects: ObjectSplitter | None = None  # buffers a first line that is JSON
        self._splitter_bytes = 0  # bytes passed to the splitter before this read
        self._first_object_checked = False  # whether an unfinished object was examined at its newline
        self._gave_up = False  # whether the peer speaks another protocol, or sent too large a frame
        self.has_output = False
        self.successor: Codec | None = None

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return faults until the dialect is known, then everything that was received so far."""
        if self._gave_up:
            return []
        if self._objects is not None:
            return self._detect_json(self._objects, data)
        if self._finder is not None:
            before, data = self._finder.feed(data)
            self.has_output = self._telnet.has_output
            if self._finder.overflowed:
                return self._give_up(_BINARY)
            if self._telnet.overflowed:
                return self._give_up(ndjson.FRAME_TOO_LARGE)
            if not before and not data:
                return []
            if not before and data[0] == ord("{"):
                self._finder = None
                self._objects = ObjectSplitter()
                return self._detect_json(self._objects, data)
            if self._finder.json_only:
                return self._give_up(_BINARY)
            if not before and data[0] == _TLS_HANDSHAKE_BYTE:
                return self._give_up(_foreign_protocol("TLS is not supported; connect without it"))
            self._finder = None
            self._first_line += before
        looked = len(self._first_line)
        self._first_line += self._telnet.feed(data)
        self.has_output = self._telnet.has_output
        return self._detect_text(looked)

    def receive_eof(self) -> Sequence[Incoming]:
        """Return what the end of input completes: a last line without a newline."""
        if self._objects is not None:
            rest = self._objects.take_unfinished()
            return self._give_up(_foreign_protocol("the JSON object is not finished")) if rest else []
        if self._finder is not None and not self._gave_up:
            if self._finder.json_only:
                return self._give_up(_BINARY)
            self._first_line += self._finder.take_unfinished()
        if not self._first_line:
            return []
        self._first_line += b"\n"
        found = self._detect_text(0)
        return [*found, *self.successor.receive_eof()] if self.successor else found

    def output(self) -> bytes:
        """Return, once, the answers to telnet commands."""
        self.has_output = False
        return self._telnet.take_output()

    def _hand_over(self, codec: Codec, data: bytes, first: Sequence[Incoming]) -> Sequence[Incoming]:
        """Make `codec` the successor; it decodes `data`, the stream from where the dialect begins."""
        self.successor = codec
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
            return self._give_up(_BINARY)
        if size > MAX_FRAME_BYTES or (newline < 0 and self._telnet.overflowed):
            return self._give_up(ndjson.FRAME_TOO_LARGE)
        if newline < 0:
            return []
        line = apply_erasures(bytes(held[:newline]))
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
            decode_text(line, begins_stream=True)
        except ValueError as error:
            return self._give_up(_foreign_protocol(str(error)))
        codec = PlainTextCodec(self._telnet)
        self.successor = codec
        text = bytes(held)
        held.clear()
        return [Arrive(), *codec.receive_text(text)]


def _has_type(text: bytes) -> bool | Fault:
    """Return whether the object has a `type`, or a fault if it cannot be decoded.

    If its only error is a lone surrogate, the codec of its dialect answers it.
    """
    try:
        return _decode_type(text).type is not msgspec.UNSET
    except (*ndjson.DECODE_ERRORS, RecursionError) as error:
        try:
            return _decode_type(ndjson.replace_lone_surrogates(text)).type is not msgspec.UNSET
        except (*ndjson.DECODE_ERRORS, RecursionError):
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


_BINARY: Final = _foreign_protocol("the first bytes are binary, not text")
