"""What a codec is: the shape that the connection and the room rely on."""

from collections.abc import Sequence
from typing import Final, Protocol

from chat_protocol.commands import AnyCommand
from chat_protocol.errors import Fault
from chat_protocol.events import Event, MessageEvent

Incoming = AnyCommand | Fault

NDJSON: Final = 0
TWO_FIELD: Final = 1
PLAIN_TEXT: Final = 2
DIALECT_NAMES: Final = ("ndjson", "simple", "text")
"""Names of the dialects, by number: rooms keep their members by dialect number."""


class Encoder(Protocol):
    """The outgoing half: one for each dialect, shared by all sessions, so it keeps no state."""

    def encode(self, event: Event) -> bytes:
        """Return the event as the dialect writes it, empty if the dialect has no word for it."""

    def encode_messages(self, events: Sequence[MessageEvent]) -> bytes:
        """Return a batch of one room's messages as one chunk."""


class Codec(Encoder, Protocol):
    """A dialect's two halves, one object a connection."""

    dialect: int

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return what `data` completes: commands and faults, in the order of their bytes."""

    def receive_eof(self) -> Sequence[Incoming]:
        """Return what the end of input completes."""
