"""Limits: what a session may send, and how much of everything there may be.

Knows numbers and the time it is given. Must not know what is being limited.
"""

from msgspec import Struct

from chat_protocol import events
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES


class Limits(Struct, frozen=True):
    """The settings that may change while the server runs. Rates are per second and session; 0 is no limit."""

    rate_messages: float = 100
    rate_messages_burst: int = 1000
    rate_bytes: float = 256 * 1024
    rate_bytes_burst: int = 4 * 1024 * 1024
    max_rooms: int = 100
    max_conversations: int = 1000
    max_public_rooms: int = 50_000
    max_held: int = 20_000
    max_held_per_address: int = 1000

    def on_wire(self) -> events.Limits:
        """Return what `welcome` tells a client."""
        return events.Limits(
            frame_bytes=MAX_FRAME_BYTES,
            message_bytes=MAX_MESSAGE_BYTES,
            rooms=self.max_rooms,
            conversations=self.max_conversations,
            messages_per_second=self.rate_messages,
            message_burst=self.rate_messages_burst,
            bytes_per_second=self.rate_bytes,
            byte_burst=self.rate_bytes_burst,
        )
