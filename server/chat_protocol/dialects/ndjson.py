"""NDJSON, the native dialect: one JSON object a line. Encoding and decoding, for server and client."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from chat_protocol.commands import MAX_REF_CHARS, WIRE_TYPES, WireCommand
from chat_protocol.dialects.base import Codec, Encoding, Incoming
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent, WireEvent
from chat_protocol.framing.lines import MAX_FRAME_BYTES, LineBuffer

_decode_command: Callable[[bytes], WireCommand] = msgspec.json.Decoder(WireCommand).decode
_decode_event: Callable[[bytes], WireEvent] = msgspec.json.Decoder(WireEvent).decode
_encoder = msgspec.json.Encoder()
_PATH_MARK = " - at `$"  # in msgspec's sentence, before the path of the field
_MAX_QUOTED_CHARS = 200  # of such a sentence in an error: it may quote the frame

FRAME_TOO_LARGE: Final = Fault(
    ErrorCode.FRAME_TOO_LARGE,
    f"the frame is longer than {MAX_FRAME_BYTES} bytes",
    bye=ByeReason.FRAME_TOO_LARGE,
)


class _FrameProbe(msgspec.Struct):
    """The fields that are read from a frame which is not a valid command."""

    type: Any = None
    ref: Any = None


_decode_probe = msgspec.json.Decoder(_FrameProbe).decode
DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError)
"""Raised by decoders for bytes that are not JSON or not UTF-8; for deep nesting it is RecursionError."""


def undecodable_fault(error: Exception, wanted: str) -> Fault:
    """Return the fault for bytes that are not `wanted` (a noun phrase), as `error` says."""
    if isinstance(error, RecursionError):
        return Fault(ErrorCode.BAD_FRAME, "the JSON is nested too deeply")
    return Fault(ErrorCode.BAD_FRAME, f"not {wanted}: {str(error)[:_MAX_QUOTED_CHARS]}")


def decode_command(line: bytes) -> Incoming:
    """Return the command on `line` (without its newline), or a fault."""
    try:
        return _decode_command(line)
    except msgspec.ValidationError as error:
        return _explain_invalid(line, str(error))
    except (*DECODE_ERRORS, RecursionError) as error:
        return undecodable_fault(error, "a JSON object on one line")


def encode(event: msgspec.Struct) -> bytes:
    """Return a command or an event as one line, with its newline."""
    return _encoder.encode(event) + b"\n"


def decode_event(line: bytes) -> Event | None:
    """Return the server's event on `line`; None for a type that this version does not know.

    Raises `msgspec.DecodeError`, and nothing else, for invalid JSON and for invalid or missing fields.
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
    """Return a batch of messages as one chunk, a line each."""
    return _encoder.encode_lines(events)


NDJSON: Final = Encoding("ndjson", encode, encode_messages, has_pings=True)


class NdjsonCodec(Codec):
    """The server's codec of NDJSON."""

    __slots__ = ("_lines", "_overflow_reported")

    encoding = NDJSON

    def __init__(self) -> None:
        self._lines = LineBuffer()
        self._overflow_reported = False  # whether FRAME_TOO_LARGE has been returned

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes; blank lines are skipped."""
        lines = self._lines
        found = [decode_command(line) for line in lines.feed(data) if line]
        if lines.overflowed and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the command on a last line without newline."""
        line = self._lines.take_unfinished()
        return [decode_command(line)] if line else []


def _explain_invalid(line: bytes, problem: str) -> Fault:
    """Return the fault of a frame that is not a valid command, with the field's name on the wire."""
    try:
        probe = _decode_probe(line)
    except (*DECODE_ERRORS, RecursionError) as error:
        # Not an object; or invalid JSON after the invalid field, where the first decoder had stopped.
        return undecodable_fault(error, "a JSON object on one line")
    ref = probe.ref if isinstance(probe.ref, str) and 1 <= len(probe.ref) <= MAX_REF_CHARS else None
    kind = probe.type
    if not isinstance(kind, str):
        return Fault(ErrorCode.UNKNOWN_TYPE, "a frame needs a `type`, which is a string", ref)
    if kind not in WIRE_TYPES:
        return Fault(ErrorCode.UNKNOWN_TYPE, f"no frame is of type {kind[:MAX_REF_CHARS]!r}", ref)
    what, at, place = problem.rpartition(_PATH_MARK)
    said = f"{place.removeprefix('.').removesuffix('`')}: {what}" if at else problem
    return Fault(ErrorCode.INVALID_FIELD, f"{kind}: {said[:_MAX_QUOTED_CHARS]}", ref)
