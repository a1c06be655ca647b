"""The first bytes of a connection choose its dialect, once.

Knows the beginnings of dialects and of other protocols. Until it has chosen, what goes wrong is answered in
the native dialect. `chosen` is the codec that takes over. A choice hangs on the bytes so far alone, never on
how many of them came at a time.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol.commands import Arrive
from chat_protocol.dialects import base, ndjson
from chat_protocol.dialects.ndjson import NdjsonCodec
from chat_protocol.dialects.plain_text import TextCodec, without_telnet
from chat_protocol.dialects.two_field import SimpleCodec
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.framing.lines import MAX_FRAME

# What may stand before the first character: spaces and blank lines (so may a web request begin, RFC 9112 2.2,
# and so does the binary PROXY header), a byte order mark, what telnet says on its own account (RFC 854).
_BEFORE = re.compile(rb"(?:[ \t\r\n]|\xef\xbb\xbf|\xff(?:[\xfb-\xfe].|[\xf0-\xf9]))*", re.DOTALL)
_HALF_OF_IT = re.compile(rb"\xef\xbb?|\xff[\xfb-\xfe]?")
_HTTP: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"}
)
_IRC: Final = frozenset({b"CAP", b"NICK", b"USER", b"PASS"})
_HTTP_LINE = re.compile(rb"\S+ \S+ HTTP/\d")
# Control characters, unless one is the option of a telnet command.
_BINARY = re.compile(rb"(?<!\xff[\xfb-\xfe])[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TLS_HANDSHAKE: Final = 0x16  # the type of a TLS connection's first record (RFC 8446, 5.1)

_prefix = json.JSONDecoder(parse_int=str)  # as text: Python's int() refuses more than 4,300 digits
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}\[\]]', re.DOTALL)


class _Tagged(msgspec.Struct):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_tagged = msgspec.json.Decoder(_Tagged).decode


class Sniffer:
    """The codec of a connection whose dialect is not known yet."""

    __slots__ = ("_begun", "_checked", "_fed", "_held", "_objects", "_over", "chosen")

    dialect = base.NDJSON
    encode = staticmethod(ndjson.encode)
    encode_messages = staticmethod(ndjson.encode_messages)

    def __init__(self) -> None:
        self._held = bytearray()  # a first line that is no JSON
        self._begun = False  # whether `_held` begins with the first character
        self._objects: ObjectSplitter | None = None  # holds a first line that is
        self._fed = 0  # bytes that the splitter was fed
        self._checked = False  # whether an unfinished first object was looked at, at its first newline
        self._over = False  # whether the connection was given up
        self.chosen: base.Codec | None = None

    def receive(self, data: bytes) -> Sequence[base.Incoming]:
        """Return faults until the dialect is known, then all that has come so far."""
        if self._over:
            return []
        if self._objects is not None:
            return self._object(self._objects, data)
        held = self._held
        looked = len(held) if self._begun else 0
        held += data
        if not self._begun:
            before = _BEFORE.match(held)
            assert before is not None
            del held[: before.end()]
            if not held or _HALF_OF_IT.fullmatch(held):
                return []
            self._begun = True
        first = held[0]
        if first == ord("{"):
            self._objects = ObjectSplitter()
            begun = bytes(held)
            held.clear()  # the splitter keeps it
            return self._object(self._objects, begun)
        if first == _TLS_HANDSHAKE:
            return self._give_up(_foreign("TLS is not set up here"))
        return self._text(looked)

    def end(self) -> Sequence[base.Incoming]:
        """Return what the end of input completes: a last line without a newline."""
        if self._objects is not None:
            rest = self._objects.end()
            return self._give_up(_foreign("the JSON object is not finished")) if rest else []
        if not self._held:
            return []
        found = self.receive(b"\n")
        return [*found, *self.chosen.end()] if self.chosen else found

    def _take(
        self, chosen: base.Codec, data: bytes, first: Sequence[base.Incoming]
    ) -> Sequence[base.Incoming]:
        """Hand over to `chosen`, which takes `data` up from where the dialect begins."""
        self.chosen = chosen
        self._held.clear()
        return [*first, *chosen.receive(data)] if data else first

    def _give_up(self, fault: Fault) -> list[base.Incoming]:
        self._over = True
        self._held.clear()
        return [fault]

    def _object(self, objects: ObjectSplitter, data: bytes) -> Sequence[base.Incoming]:
        """Decide by the first whole object: with a `type` it is native, without one it is two-field JSON."""
        faults: list[base.Incoming] = []
        start = 0
        while start < len(data):
            # A line at a time, since the end of the first line may decide.
            end = data.find(b"\n", start) + 1 or len(data)
            for piece in objects.feed(data[start:end]):
                tagged = _tag(piece.text)
                if not isinstance(tagged, Fault):
                    rest = data[piece.end - self._fed :]
                    return self._take(NdjsonCodec() if tagged else SimpleCodec(), piece.text + rest, faults)
                faults.append(tagged)
                self._checked = False
            if objects.overflowed:
                return faults + self._give_up(ndjson.TOO_LARGE)
            if not self._checked and data[end - 1] == ord("\n") and (line := objects.unfinished()):
                self._checked = True
                if _native_cut_short(line):
                    return self._take(NdjsonCodec(), line + data[end:], faults)
            start = end
        self._fed += len(data)
        return faults

    def _text(self, looked: int) -> Sequence[base.Incoming]:
        """Decide by the first line, once it is whole: text, or a protocol that is not spoken here."""
        held = self._held
        newline = held.find(b"\n", looked)
        size = len(held) if newline < 0 else newline
        if _BINARY.search(held, looked, min(size, MAX_FRAME + 1)):
            return self._give_up(_foreign("these bytes are not text"))
        if size - held.endswith(b"\r", 0, size) > MAX_FRAME:
            return self._give_up(ndjson.TOO_LARGE)
        if newline < 0:
            return []
        line = without_telnet(bytes(held[:newline]))
        word, *_ = line.split(maxsplit=1) or [b""]
        if word in _HTTP or _HTTP_LINE.match(line):
            return self._give_up(_foreign("this is a chat server, not a web server; use chat-client, or nc"))
        if word in _IRC:
            return self._give_up(_foreign("IRC is not spoken here; use chat-client, or nc"))
        if word == b"PROXY":
            return self._give_up(_foreign("the PROXY protocol is not spoken here"))
        try:
            line.decode()
        except UnicodeDecodeError:
            return self._give_up(_foreign("these bytes are not UTF-8 text"))
        return self._take(TextCodec(), bytes(held), [Arrive()])


def _tag(text: bytes) -> bool | Fault:
    """Tell whether the object has a `type`, or what is wrong with it."""
    try:
        return _tagged(text).type is not msgspec.UNSET
    except (*ndjson.UNREADABLE, RecursionError) as error:
        return ndjson.unreadable(error, "a JSON object on one line")


def _native_cut_short(line: bytes) -> bool:
    """Tell whether `line`, an object that goes on over a newline, is a broken native frame.

    Two-field JSON may spread over lines, a native frame may not: a `type` gives it away, and so does JSON
    that is wrong before its end.
    """
    depth = 0
    for token in _TOKEN.finditer(line):
        match token[0][0]:
            case 0x7B | 0x5B:
                depth += 1
            case 0x7D | 0x5D:
                depth -= 1
            case _ if depth == 1 and token[1] and token[0].startswith(b'"type"'):
                return True
    try:
        text = line.decode().rstrip()
        _prefix.decode(text)
    except json.JSONDecodeError as error:
        return error.pos < len(text)
    except (UnicodeDecodeError, RecursionError):
        return True
    return False


def _foreign(message: str) -> Fault:
    return Fault(ErrorCode.BAD_FRAME, message, close=True)
