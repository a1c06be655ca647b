"""Two-field JSON: objects of `username` and `message`, with or without newlines between them.

Knows how to say everything in two fields and a timestamp; what is not a person's message comes from the
username `server`. Must not know sessions or rooms beyond what an event tells.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol import sentences
from chat_protocol.commands import Say
from chat_protocol.dialects.base import TWO_FIELD, Incoming
from chat_protocol.dialects.ndjson import DECODE_ERRORS, FRAME_TOO_LARGE, undecodable_fault
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.names import SERVER_NAME


class InboundObject(msgspec.Struct):
    """What a client sends."""

    username: str
    message: str


class OutboundObject(msgspec.Struct, omit_defaults=True):
    """What the server sends; `timestamp` in seconds since the Unix epoch where there is a message."""

    username: str
    message: str
    timestamp: float | None = None


_decode = msgspec.json.Decoder(InboundObject).decode
_encoder: Final = msgspec.json.Encoder()


def decode_object(text: bytes, *, balanced: bool = True) -> Incoming:
    """Return the message in the object `text`, or what is wrong with it."""
    if not balanced:
        return Fault(ErrorCode.BAD_FRAME, "not a JSON object of username and message")
    try:
        pair = _decode(text)
    except msgspec.ValidationError as error:
        return Fault(ErrorCode.INVALID_FIELD, f"an object has the strings username and message: {error}")
    except (*DECODE_ERRORS, RecursionError) as error:
        return undecodable_fault(error, "a JSON object")
    return Say(username=pair.username, message=pair.message)


def encode(event: Event) -> bytes:
    """Return the event as two-field lines, one for each thing it says."""
    if isinstance(event, MessageEvent):
        return encode_messages((event,))
    return b"".join(
        _encoder.encode(OutboundObject(SERVER_NAME, sentence)) + b"\n"
        for sentence in sentences.event_sentences(event)
    )


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk."""
    return _encoder.encode_lines(
        [OutboundObject(event.username, event.message, event.timestamp) for event in events]
    )


class TwoFieldCodec:
    """The server's side of two-field JSON."""

    __slots__ = ("_objects", "_overflow_reported")

    dialect = TWO_FIELD
    encode = staticmethod(encode)
    encode_messages = staticmethod(encode_messages)

    def __init__(self) -> None:
        self._objects = ObjectSplitter()
        self._overflow_reported = False  # whether the peer was told that an object was too large

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return what `data` completes."""
        found = [decode_object(piece.text, balanced=piece.balanced) for piece in self._objects.feed(data)]
        if self._objects.overflowed and not self._overflow_reported:
            self._overflow_reported = True
            found.append(FRAME_TOO_LARGE)
        return found

    def receive_eof(self) -> Sequence[Incoming]:
        """Return what the end of input leaves unfinished."""
        return [
            decode_object(piece.text, balanced=piece.balanced) for piece in self._objects.take_unfinished()
        ]
