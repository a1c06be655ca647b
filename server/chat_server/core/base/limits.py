"""Limits of a session and of the server; all can be reloaded."""

from msgspec import Struct

from chat_protocol import events
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES


class Limits(Struct, frozen=True):
    """Limits from the settings. Rates are per second and session; 0 means no limit.

    `rate_address_factor`: multiple of the rates of a session that all sessions of an address have together.
    `rate_rooms` and `rate_conversations` are per hour and address.
    """

    rate_messages: float = 100
    rate_messages_burst: int = 1000
    rate_bytes: float = 256 * 1024
    rate_bytes_burst: int = 4 * 1024 * 1024
    rate_address_factor: float = 4
    max_rooms: int = 100
    max_conversations: int = 1000
    max_public_rooms: int = 50_000
    rate_rooms: int = 1000
    rate_conversations: int = 1000
    max_held: int = 20_000
    max_held_per_address: int = 1000

    def on_wire(self) -> events.Limits:
        """Return the limits that `welcome` announces to a client."""
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
