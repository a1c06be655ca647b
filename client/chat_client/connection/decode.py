"""Lenient decoding of the server's frames: a newer server may send values unknown to this version."""

from typing import Any

import msgspec

from chat_protocol.dialects.ndjson import decode_event
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import Bye, Error, Event


class _FrameProbe(msgspec.Struct):
    type: Any = None
    ref: Any = None
    message: Any = None


_decode_probe = msgspec.json.Decoder(_FrameProbe).decode


def decode_frame(line: bytes) -> Event | None:
    """Return the event, None for an unknown type. Raises `ValueError` for an invalid frame."""
    try:
        return decode_event(line)
    except msgspec.ValidationError as error:
        # An unknown code or reason must still end the command or the session that it is about.
        return _decode_unknown_value(line, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a frame of the chat protocol: {line[:60]!r}") from error


def _decode_unknown_value(line: bytes, problem: str) -> Event:
    try:
        probe = _decode_probe(line)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a frame of the chat protocol: {line[:60]!r}") from error
    message = probe.message if isinstance(probe.message, str) else problem
    if probe.type == "error" and "`$.code`" in problem:
        ref = probe.ref if isinstance(probe.ref, str) else None
        return Error(code=ErrorCode.INTERNAL, message=message, ref=ref)
    if probe.type == "bye":
        return Bye(reason=ByeReason.SHUTDOWN, message=message)
    raise ValueError(f"invalid frame from the server: {problem}")
