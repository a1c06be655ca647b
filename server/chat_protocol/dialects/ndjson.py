"""The native dialect: one JSON object a line.

Knows the wire's JSON. Must not know who sent it or what will come of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from chat_protocol.commands import MAX_REF_CHARS, WIRE_TYPES, WireCommand
from chat_protocol.dialects.base import NDJSON, Incoming
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent, WireEvent
from chat_protocol.framing.lines import MAX_FRAME_BYTES, LineBuffer

_decode_command: Callable[[bytes], WireCommand] = msgspec.json.Decoder(WireCommand).decode
_decode_event: Callable[[bytes], WireEvent] = msgspec.json.Decoder(WireEvent).decode
_encoder = msgspec.json.Encoder()
_PATH_MARK = " - at `$"  # where msgspec's sentence turns to the place
_MAX_QUOTED_CHARS = 200  # code points of such a sentence that a peer gets: it may quote the frame

FRAME_TOO_LARGE: Final = Fault(
    ErrorCode.FRAME_TOO_LARGE,
    f"a frame has at most {MAX_FRAME_BYTES} bytes",
    bye=ByeReason.FRAME_TOO_LARGE,
)


class _FrameProbe(msgspec.Struct):
    """What can be said of a frame that is not a command."""

    type: Any = None
    ref: Any = None


_decode_probe = msgspec.json.Decoder(_FrameProbe).decode
DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError)
"""What a decoder raises for bytes that are not JSON or not UTF-8; too deep a nesting is a RecursionError."""


def undecodable_fault(error: Exception, wanted: str) -> Fault:
    """Return the fault of bytes that `error` says are not `wanted`."""
    if isinstance(error, RecursionError):
        return Fault(ErrorCode.BAD_FRAME, "the JSON is nested too deep")
    return Fault(ErrorCode.BAD_FRAME, f"not {wanted}: {str(error)[:_MAX_QUOTED_CHARS]}")


def decode_command(line: bytes) -> Incoming:
    """Return the command on `line`, or what is wrong with it."""
    try:
        return _decode_command(line)
    except msgspec.ValidationError as error:
        return _explain_invalid(line, str(error))
    except (*DECODE_ERRORS, RecursionError) as error:
        return undecodable_fault(error, "a JSON object on one line")


def encode(event: msgspec.Struct) -> bytes:
    """Return a command or an event as a line."""
    return _encoder.encode(event) + b"\n"


def decode_event(line: bytes) -> Event | None:
    """Return the server's event on `line`; None for one that this version does not know.

    Raises `msgspec.DecodeError`, and nothing else, for what is not JSON or lacks a field.
    """
    try:
        return _decode_event(line)
    except msgspec.ValidationError as error:
        if str(error).endswith(f"{_PATH_MARK}.type`"):
            return None
        raise
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk of lines."""
    return _encoder.encode_lines(events)


class NdjsonCodec:
    """The server's side of the native dialect."""

    __slots__ = ("_lines", "_overflow_reported")

    dialect = NDJSON
    encode = staticmethod(encode)
    encode_messages = staticmethod(encode_messages)

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._overflow_reported = False  # whether the peer was told that a frame was too large

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return what `data` completes; blank lines are nothing."""
        lines = self._lines
        found = [decode_command(line) for line in lines.feed(data) if line]
        if lines.overflowed and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the command on a last line without a newline."""
        line = self._lines.take_unfinished()
        return [decode_command(line)] if line else []


def _explain_invalid(line: bytes, problem: str) -> Fault:
    """Say what a well-formed frame lacks, in the words of the wire."""
    try:
        probe = _decode_probe(line)
    except (*DECODE_ERRORS, RecursionError) as error:
        # Not an object; or worse stands behind the wrong field at which the first decoder stopped.
        return undecodable_fault(error, "a JSON object on one line")
    ref = probe.ref if isinstance(probe.ref, str) and 1 <= len(probe.ref) <= MAX_REF_CHARS else None
    kind = probe.type
    if not isinstance(kind, str):
        return Fault(ErrorCode.UNKNOWN_TYPE, "a frame has a `type`, a string", ref)
    if kind not in WIRE_TYPES:
        return Fault(ErrorCode.UNKNOWN_TYPE, f"no frame is of type {kind[:MAX_REF_CHARS]!r}", ref)
    what, at, place = problem.rpartition(_PATH_MARK)
    said = f"{place.removeprefix('.').removesuffix('`')}: {what}" if at else problem
    return Fault(ErrorCode.INVALID_FIELD, f"{kind}: {said[:_MAX_QUOTED_CHARS]}", ref)
