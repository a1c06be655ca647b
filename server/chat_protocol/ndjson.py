"""The native dialect: one JSON object a line.

Knows the wire's JSON. Must not know who sent it or what will come of it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from chat_protocol import codec
from chat_protocol.commands import MAX_REF, WIRE_TYPES, WireCommand
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent, WireEvent
from chat_protocol.lines import MAX_FRAME, LineBuffer

_decode_command: Callable[[bytes], WireCommand] = msgspec.json.Decoder(WireCommand).decode
_decode_event: Callable[[bytes], WireEvent] = msgspec.json.Decoder(WireEvent).decode
_encoder = msgspec.json.Encoder()
_AT = re.compile(r" - at `\$\.?(.*)`$")

TOO_LARGE: Final = Fault(
    ErrorCode.FRAME_TOO_LARGE,
    f"a frame has at most {MAX_FRAME} bytes",
    bye=ByeReason.FRAME_TOO_LARGE,
)


class _Probe(msgspec.Struct):
    """What can be said of a frame that is not a command."""

    type: Any = None
    ref: Any = None


_probe = msgspec.json.Decoder(_Probe).decode


def decode_command(line: bytes) -> codec.Incoming:
    """Return the command on `line`, or what is wrong with it."""
    try:
        return _decode_command(line)
    except msgspec.ValidationError as error:
        return _explain(line, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Fault(ErrorCode.BAD_FRAME, f"not a JSON object on one line: {error}")
    except RecursionError:
        return Fault(ErrorCode.BAD_FRAME, "the JSON is nested too deep")


def encode(event: msgspec.Struct) -> bytes:
    """Return a command or an event as a line."""
    return _encoder.encode(event) + b"\n"


def decode_event(line: bytes) -> Event | None:
    """Return the server's event on `line`; None for one that this version does not know.

    Raises `msgspec.DecodeError` for what is not JSON or lacks a field.
    """
    try:
        return _decode_event(line)
    except msgspec.ValidationError as error:
        if "`$.type`" in str(error):
            return None
        raise


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk of lines."""
    return _encoder.encode_lines(events)


class NdjsonCodec:
    """The server's side of the native dialect."""

    __slots__ = ("_lines",)

    dialect = codec.NDJSON
    encode = staticmethod(encode)
    encode_messages = staticmethod(encode_messages)

    def __init__(self) -> None:
        self._lines = LineBuffer()

    def receive(self, data: bytes) -> Sequence[codec.Incoming]:
        """Return what `data` completes; blank lines are nothing."""
        lines = self._lines
        found = [decode_command(line) for line in lines.feed(data) if line]
        if lines.overflowed:
            found.append(TOO_LARGE)
        return found

    def end(self) -> Sequence[codec.Incoming]:
        """Return the command on a last line without a newline."""
        line = self._lines.end()
        return [decode_command(line)] if line.strip() else []


def _explain(line: bytes, problem: str) -> Fault:
    """Say what a well-formed frame lacks, in the words of the wire."""
    try:
        probe = _probe(line)
    except msgspec.ValidationError:
        return Fault(ErrorCode.BAD_FRAME, "a frame is a JSON object")
    ref = probe.ref if isinstance(probe.ref, str) and 1 <= len(probe.ref) <= MAX_REF else None
    if probe.type is None:
        return Fault(ErrorCode.UNKNOWN_TYPE, "a frame has a `type`", ref)
    if not isinstance(probe.type, str) or probe.type not in WIRE_TYPES:
        shown = str(probe.type)[:MAX_REF]
        return Fault(ErrorCode.UNKNOWN_TYPE, f"no frame is of type {shown!r}", ref)
    where = _AT.search(problem)
    if where is None:
        return Fault(ErrorCode.INVALID_FIELD, f"{probe.type}: {problem}", ref)
    return Fault(ErrorCode.INVALID_FIELD, f"{probe.type}: {where.group(1)}: {problem[: where.start()]}", ref)
