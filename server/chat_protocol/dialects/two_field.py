"""Two-field JSON: objects of `username` and `message`, with or without newlines between them.

An object may name a `room` or, with `to`, a user for its message. Anything but separators between two objects
ends the connection: nothing says where the next object begins. Messages of users go out with a timestamp; all
other events as sentences from the username `server`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol import sentences
from chat_protocol.characters import describe_char
from chat_protocol.commands import Say
from chat_protocol.dialects.base import Codec, Encoding, Incoming
from chat_protocol.dialects.ndjson import (
    DECODE_ERRORS,
    FRAME_TOO_LARGE,
    describe_invalid,
    lone_surrogate_fault,
    undecodable_fault,
)
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent
from chat_protocol.framing.json_objects import ObjectSplitter, Piece
from chat_protocol.names import SERVER_NAME


class InboundObject(msgspec.Struct):
    """What a client sends: a message, the name under which, and where to (default: the lobby)."""

    username: str
    message: str
    room: str | None = None
    to: str | None = None


class OutboundObject(msgspec.Struct, omit_defaults=True):
    """What the server sends; messages of users have a `timestamp`, in seconds since the Unix epoch."""

    username: str
    message: str
    timestamp: float | None = None


_decode = msgspec.json.Decoder(InboundObject).decode
_encoder: Final = msgspec.json.Encoder()
_OWNER: Final = "the object"  # in sentences


def decode_object(text: bytes) -> Incoming:
    """Return the command in the object `text`, or a fault."""
    try:
        found = _decode(text)
    except msgspec.ValidationError as error:
        return Fault(ErrorCode.INVALID_FIELD, describe_invalid(str(error), _OWNER))
    except (*DECODE_ERRORS, RecursionError) as error:
        return lone_surrogate_fault(text, _OWNER) or undecodable_fault(error, "a JSON object")
    return Say(username=found.username, message=found.message, room=found.room, to=found.to)


def _decode_piece(piece: Piece) -> Incoming:
    """Return the command or the fault of what the splitter found; junk ends the connection."""
    if piece.balanced:
        return decode_object(piece.text)
    if piece.text.startswith(b"{"):
        return Fault(ErrorCode.BAD_FRAME, "the JSON object is not finished")
    first = piece.text[:1]
    named = describe_char(first.decode()) if first.isascii() else f"the byte 0x{first[0]:02X}"
    return Fault(
        ErrorCode.BAD_FRAME,
        "good-bye: between objects there may be blanks, commas, NUL, RS (U+001E) and byte order marks, "
        f"not {named}",
        close=True,
    )


def encode(event: Event) -> bytes:
    """Return the event as lines of two-field JSON, one for each sentence."""
    if isinstance(event, MessageEvent):
        return encode_messages((event,))
    return b"".join(
        _encoder.encode(OutboundObject(SERVER_NAME, sentence)) + b"\n"
        for sentence in sentences.event_sentences(event)
    )


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk, a line each."""
    return _encoder.encode_lines(
        [OutboundObject(event.username, event.message, event.timestamp) for event in events]
    )


TWO_FIELD: Final = Encoding("simple", encode, encode_messages)


class TwoFieldCodec(Codec):
    """The server's codec of two-field JSON."""

    __slots__ = ("_objects", "_overflow_reported")

    encoding = TWO_FIELD

    def __init__(self) -> None:
        self._objects = ObjectSplitter(stop_at_junk=True)
        self._overflow_reported = False  # whether FRAME_TOO_LARGE has been returned

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes; nothing after a fault that closes."""
        found = [_decode_piece(piece) for piece in self._objects.feed(data)]
        if self._objects.overflowed and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return a fault for an unfinished object at the end of input."""
        return [_decode_piece(piece) for piece in self._objects.take_unfinished()]
