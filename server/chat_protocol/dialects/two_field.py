"""Two-field JSON: objects of `username` and `message`, with or without newlines between them.

Knows how to say everything in two fields and a timestamp; what is not a person's message comes from the
username `server`. Must not know sessions or rooms beyond what an event tells.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from chat_protocol import sentences
from chat_protocol.commands import Say
from chat_protocol.dialects import base
from chat_protocol.dialects.ndjson import TOO_LARGE, UNREADABLE, unreadable
from chat_protocol.errors import ErrorCode, Fault
from chat_protocol.events import Event, MessageEvent
from chat_protocol.framing.json_objects import ObjectSplitter
from chat_protocol.names import SERVER_NAME


class Pair(msgspec.Struct):
    """What a client sends."""

    username: str
    message: str


class Line(msgspec.Struct, omit_defaults=True):
    """What the server sends; `timestamp` in seconds since the Unix epoch where there is a message."""

    username: str
    message: str
    timestamp: float | None = None


_decode = msgspec.json.Decoder(Pair).decode
_encoder: Final = msgspec.json.Encoder()


def decode_pair(text: bytes, *, balanced: bool = True) -> base.Incoming:
    """Return the message in the object `text`, or what is wrong with it."""
    if not balanced:
        return Fault(ErrorCode.BAD_FRAME, "not a JSON object of username and message")
    try:
        pair = _decode(text)
    except msgspec.ValidationError as error:
        return Fault(ErrorCode.INVALID_FIELD, f"an object has the strings username and message: {error}")
    except (*UNREADABLE, RecursionError) as error:
        return unreadable(error, "a JSON object")
    return Say(username=pair.username, message=pair.message)


def encode(event: Event) -> bytes:
    """Return the event as two-field lines, one for each thing it says."""
    if isinstance(event, MessageEvent):
        return encode_messages((event,))
    return b"".join(
        _encoder.encode(Line(SERVER_NAME, sentence)) + b"\n" for sentence in sentences.sentences(event)
    )


def encode_messages(events: Sequence[MessageEvent]) -> bytes:
    """Return a batch of messages as one chunk."""
    return _encoder.encode_lines([Line(event.username, event.message, event.timestamp) for event in events])


class SimpleCodec:
    """The server's side of two-field JSON."""

    __slots__ = ("_objects", "_over")

    dialect = base.SIMPLE
    encode = staticmethod(encode)
    encode_messages = staticmethod(encode_messages)

    def __init__(self) -> None:
        self._objects = ObjectSplitter()
        self._over = False  # whether the peer was told that an object was too large

    def receive(self, data: bytes) -> Sequence[base.Incoming]:
        """Return what `data` completes."""
        found = [decode_pair(piece.text, balanced=piece.balanced) for piece in self._objects.feed(data)]
        if self._objects.overflowed and not self._over:
            self._over = True
            found.append(TOO_LARGE)
        return found

    def end(self) -> Sequence[base.Incoming]:
        """Return what the end of input leaves unfinished."""
        return [decode_pair(piece.text, balanced=piece.balanced) for piece in self._objects.end()]
