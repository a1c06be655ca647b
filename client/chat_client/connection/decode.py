"""Frames of the server as events, leniently where a newer server may say more than this version knows.

Knows the wire. Must not know sockets.
"""

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
    """Return the event, None for one that this version does not know; ValueError if it is none at all."""
    try:
        return decode_event(line)
    except msgspec.ValidationError as error:
        # A code or reason that a newer server added must still end the call or the session it speaks of.
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
    raise ValueError(f"a broken frame came from the server: {problem}")
