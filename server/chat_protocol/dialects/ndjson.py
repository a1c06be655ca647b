"""NDJSON, the native dialect: one JSON object a line. Encoding and decoding, for server and client."""

import re
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
_MISSING_FIELD = re.compile("Object missing required field `(.*)`")
_MAX_QUOTED_CHARS = 200  # of such a sentence in an error: it may quote the frame
_WANTED = "a JSON object on one line"

# Escapes in JSON strings: a pair of surrogates, a surrogate without its pair, and all others.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_MARK = "\ufdd0".encode()  # a noncharacter, in place of a lone surrogate
_MARK_ESCAPE = rb"\ufdd0"

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
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError)
"""Raised by decoders for bytes that are not JSON or not UTF-8; for deep nesting it is RecursionError."""


def undecodable_fault(error: Exception, wanted: str) -> Fault:
    """Return the fault for bytes that are not `wanted` (a noun phrase), as `error` says."""
    if isinstance(error, RecursionError):
        return Fault(ErrorCode.BAD_FRAME, "the JSON is nested too deeply")
    return Fault(ErrorCode.BAD_FRAME, f"not {wanted}: {str(error)[:_MAX_QUOTED_CHARS]}")


def describe_invalid(problem: str, owner: str) -> str:
    """Return msgspec's sentence on a field of `owner` as one that names the field once."""
    what, at, place = problem.rpartition(_PATH_MARK)
    if not at:
        what, place = problem, ""
    path = place.removeprefix(".").removesuffix("`")
    missing = _MISSING_FIELD.fullmatch(what)
    if missing is not None:
        path = f"{path}.{missing[1]}" if path else missing[1]
        what = "is missing"
    else:
        what = f"is not valid: {what[:1].lower()}{what[1:_MAX_QUOTED_CHARS]}"
    return f"{_describe_field(path, owner)} {what}"


def lone_surrogate_fault(data: bytes, owner: str | None = None) -> Fault | None:
    r"""Return the fault of JSON whose only error is an escape like `\ud800` alone; None for any other error.

    Such JSON is well-formed (RFC 8259, 8.2), so its `ref` is answered; but UTF-8 cannot encode the string.
    `owner`: what has the fields, for the sentence; by default the command that the JSON names.
    """
    found = next((one for one in _ESCAPES.finditer(data) if one["lone"]), None)
    if found is None:
        return None
    try:
        fields = _decode_object(replace_lone_surrogates(data))
        marked = next((key for key, value in fields.items() if _MARK in _encoder.encode([key, value])), "")
    except (*DECODE_ERRORS, RecursionError, OverflowError):
        return None
    ref, kind = fields.get("ref"), fields.get("type")
    if owner is None:
        owner = kind if isinstance(kind, str) and kind in WIRE_TYPES else "the frame"
    return Fault(
        ErrorCode.INVALID_FIELD,
        f"{_describe_field(marked.replace(_MARK.decode(), ''), owner)} contains the lone surrogate "
        f"U+{found['lone'][1:].decode().upper()}, which UTF-8 cannot encode",
        ref if marked != "ref" and isinstance(ref, str) and 1 <= len(ref) <= MAX_REF_CHARS else None,
    )


def replace_lone_surrogates(data: bytes) -> bytes:
    """Return JSON with the escape of a noncharacter for each that is a surrogate without its pair."""
    return _ESCAPES.sub(lambda one: _MARK_ESCAPE if one["lone"] else one[0], data)


def _describe_field(path: str, owner: str) -> str:
    return f"the field `{path[:MAX_REF_CHARS]}`{'' if path == owner else f' of {owner}'}"


def decode_command(line: bytes) -> Incoming:
    """Return the command on `line` (without its newline), or a fault."""
    try:
        return _decode_command(line)
    except msgspec.ValidationError as error:
        return _explain_invalid(line, str(error))
    except (*DECODE_ERRORS, RecursionError) as error:
        return lone_surrogate_fault(line) or undecodable_fault(error, _WANTED)


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
        return lone_surrogate_fault(line) or undecodable_fault(error, _WANTED)
    ref = probe.ref if isinstance(probe.ref, str) and 1 <= len(probe.ref) <= MAX_REF_CHARS else None
    kind = probe.type
    if not isinstance(kind, str):
        return Fault(ErrorCode.UNKNOWN_TYPE, "a frame needs a `type`, which is a string", ref)
    if kind not in WIRE_TYPES:
        return Fault(ErrorCode.UNKNOWN_TYPE, f"no frame is of type {kind[:MAX_REF_CHARS]!r}", ref)
    return Fault(ErrorCode.INVALID_FIELD, describe_invalid(problem, kind), ref)
