"""The codec protocol that connections rely on, and encodings, by which rooms group their members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from chat_protocol.commands import AnyCommand
from chat_protocol.errors import Fault
from chat_protocol.events import Event, MessageEvent

Incoming = AnyCommand | Fault

MAX_ENCODINGS: Final = 16
"""Encodings in use at most: a batch of a room is framed once for each that its members use."""


class Encoding:
    """How events become bytes for a session: those of a dialect, framed if they travel inside a layer.

    Stateless, one object for all its sessions, compared by identity: it is a key of a room's feeds. Framed
    encodings (`framed`) have the same `base`, so a batch is encoded once, however many of them are in use.
    """

    __slots__ = ("base", "dialect", "encode", "encode_messages", "frame", "has_pings")

    def __init__(
        self,
        dialect: str,
        encode: Callable[[Event], bytes],
        encode_messages: Callable[[Sequence[MessageEvent]], bytes],
        *,
        has_pings: bool = False,
    ) -> None:
        self.dialect: Final = dialect
        """The dialect's name in logs and metrics."""
        self.encode: Final = encode
        """Return an event as bytes; empty if the dialect cannot express it."""
        self.encode_messages: Final = encode_messages
        """Return a batch of messages of one room as one chunk."""
        self.has_pings: Final = has_pings
        """Whether its clients answer the server's pings; other connections get TCP keepalive."""
        self.base: Encoding = self
        self.frame: Callable[[bytes], bytes] | None = None
        """Turns what `base` has encoded into the layer's bytes."""

    def __repr__(self) -> str:
        return f"<Encoding {self.dialect}{'' if self.frame is None else ' framed'}>"

    def framed(self, frame: Callable[[bytes], bytes]) -> Encoding:
        """Return this encoding inside a layer; `frame` takes a chunk of whole events, never an empty one."""
        base = self.base

        def encode(event: Event) -> bytes:
            chunk = base.encode(event)
            return frame(chunk) if chunk else chunk

        def encode_messages(events: Sequence[MessageEvent]) -> bytes:
            return frame(base.encode_messages(events))

        inside = Encoding(self.dialect, encode, encode_messages, has_pings=self.has_pings)
        inside.base = base
        inside.frame = frame
        return inside


class Codec(Protocol):
    """What a connection reads with; one object per connection, as decoding keeps partial frames."""

    __slots__ = ()

    encoding: Encoding
    """How the connection's session is answered."""
    has_output: bool = False
    """Whether `output` is to be called after each `receive`: a dialect has nothing to say by itself."""
    successor: Codec | None = None
    """The codec that takes over after this `receive`; it has received the rest of the bytes already."""

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes, in the order of their bytes."""

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the commands and faults that the end of input completes."""

    def output(self) -> bytes:
        """Return, once, the bytes that the codec itself has to send: a layer's handshake, pongs, answers."""
        return b""
