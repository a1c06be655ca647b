"""The codec protocol that connections and rooms rely on, and the numbers of the dialects."""

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
"""Names of the dialects in logs and metrics, by number. Rooms group their members by dialect number."""


class Encoder(Protocol):
    """The outgoing half of a codec. Stateless: one per dialect, shared by all sessions."""

    def encode(self, event: Event) -> bytes:
        """Return the event as bytes of the dialect; empty if the dialect cannot express it."""

    def encode_messages(self, events: Sequence[MessageEvent]) -> bytes:
        """Return a batch of messages of one room as one chunk."""


class Codec(Encoder, Protocol):
    """Both halves of a dialect; one object per connection, as decoding keeps partial frames."""

    dialect: int

    def receive(self, data: bytes) -> Sequence[Incoming]:
        """Return the commands and faults that `data` completes, in the order of their bytes."""

    def receive_eof(self) -> Sequence[Incoming]:
        """Return the commands and faults that the end of input completes."""
