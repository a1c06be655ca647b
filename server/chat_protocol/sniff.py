"""The first bytes of a connection choose its dialect, once.

Knows the beginnings of dialects and of other protocols. Until it has chosen, what goes wrong is answered in
the native dialect. `chosen` is the codec that takes over.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol import codec, ndjson
from chat_protocol.commands import Arrive
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.lines import MAX_FRAME
from chat_protocol.ndjson import NdjsonCodec
from chat_protocol.objects import ObjectSplitter
from chat_protocol.simple import SimpleCodec
from chat_protocol.text import TextCodec

_SPACE: Final = b" \t\r\n"
_HTTP: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"}
)
_IRC: Final = frozenset({b"CAP", b"NICK", b"USER", b"PASS"})
_HTTP_LINE = re.compile(rb"^\S+ \S+ HTTP/\d")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class _Tagged(msgspec.Struct):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_tagged = msgspec.json.Decoder(_Tagged).decode
_BROKEN = Fault(ErrorCode.BAD_FRAME, "not a JSON object on one line")


class Sniffer:
    """The codec of a connection whose dialect is not known yet."""

    __slots__ = ("_checked", "_held", "_objects", "_start", "chosen")

    dialect = codec.NDJSON
    encode = staticmethod(ndjson.encode)
    encode_messages = staticmethod(ndjson.encode_messages)

    def __init__(self) -> None:
        self._held = bytearray()
        self._objects: ObjectSplitter | None = None  # follows the first object's braces
        self._start = 0  # where `_held` begins in what the splitter was fed
        self._checked = False  # whether an unfinished first object was looked at, at its first newline
        self.chosen: codec.Codec | None = None

    def receive(self, data: bytes) -> Sequence[codec.Incoming]:
        """Return faults until the dialect is known, then all that has come so far."""
        held = self._held
        known = len(held)
        held += data
        if self._objects is not None:
            return self._object(data)
        if not known:
            del held[: len(held) - len(held.lstrip(_SPACE))]
            if not held:
                # Enter alone comes from a person at a terminal; JSON's writers have no use for it.
                return self._take(TextCodec(), [Arrive()]) if b"\n" in data else []
        first = held[0]
        if first == ord("{"):
            self._objects = ObjectSplitter()
            return self._object(bytes(held))
        if first < ord(" ") or first == 0x7F:
            return [_foreign("these bytes are not text; for TLS, this server has none set up")]
        return self._text(max(known - 1, 0))

    def end(self) -> Sequence[codec.Incoming]:
        """Return what the end of input completes: a last line without a newline."""
        if not self._held:
            return []
        if self._objects is not None:
            return [Fault(ErrorCode.BAD_FRAME, "the JSON object is not finished", close=True)]
        found = self.receive(b"\n")
        return [*found, *self.chosen.end()] if self.chosen else found

    def _take(self, chosen: codec.Codec, first: Sequence[codec.Incoming] = ()) -> Sequence[codec.Incoming]:
        self.chosen = chosen
        held = bytes(self._held)
        self._held.clear()
        return [*first, *chosen.receive(held)] if held else first

    def _object(self, data: bytes) -> Sequence[codec.Incoming]:
        """Decide by the first whole object: with a `type` it is native, without one it is two-field JSON."""
        assert self._objects is not None
        faults: list[codec.Incoming] = []
        for piece in self._objects.feed(data):
            tagged = _tag(piece.text) if piece.balanced else None
            if tagged is not None:
                self._skip(piece.start)
                return self._take(NdjsonCodec() if tagged else SimpleCodec(), faults)
            fault = ndjson.decode_command(piece.text)
            faults.append(fault if isinstance(fault, Fault) else _BROKEN)
            self._skip(piece.end)
            self._checked = False
        if self._objects.overflowed:
            return [*faults, ndjson.TOO_LARGE]
        if not self._checked and b"\n" in (text := bytes(self._held).lstrip()):
            self._checked = True
            if _native_cut_short(text[: text.index(b"\n")]):
                return self._take(NdjsonCodec(), faults)
        return faults

    def _skip(self, place: int) -> None:
        """Forget what came before `place` in the stream."""
        del self._held[: place - self._start]
        self._start = place

    def _text(self, looked: int) -> Sequence[codec.Incoming]:
        """Decide by the first line, once it is whole: text, or a protocol that is not spoken here."""
        held = self._held
        newline = held.find(b"\n", looked)
        if newline < 0:
            if len(held) > MAX_FRAME:
                return [ndjson.TOO_LARGE]
            if _BINARY.search(held, looked):
                return [_foreign("these bytes are not text")]
            return []
        line = bytes(held[:newline])
        word = line.split(maxsplit=1)[0] if line.strip() else b""
        if word in _HTTP or _HTTP_LINE.match(line):
            return [_foreign("this is a chat server, not a web server; use chat-client, or nc")]
        if word in _IRC:
            return [_foreign("IRC is not spoken here; use chat-client, or nc")]
        if word == b"PROXY":
            return [_foreign("the PROXY protocol is not spoken here")]
        if _BINARY.search(line):
            return [_foreign("these bytes are not text")]
        try:
            line.decode()
        except UnicodeDecodeError:
            return [_foreign("these bytes are not UTF-8 text")]
        return self._take(TextCodec(), [Arrive()])


def _tag(text: bytes) -> bool | None:
    """Tell whether the object has a `type`; None if it is not valid JSON."""
    try:
        return _tagged(text).type is not msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _native_cut_short(line: bytes) -> bool:
    """Tell whether `line`, an object that goes on over a newline, is a broken native frame.

    Two-field JSON may spread over lines, a native frame may not: a `type` gives it away, and so does JSON
    that is wrong before its end.
    """
    if b'"type"' in line:
        return True
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos < len(line.decode(errors="replace").rstrip())
    except (UnicodeDecodeError, RecursionError):
        return True
    return False


def _foreign(message: str) -> Fault:
    return Fault(ErrorCode.BAD_FRAME, message, close=True)
