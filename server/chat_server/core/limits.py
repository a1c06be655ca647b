"""Limits: what a session may send, and how much of everything there may be.

Knows numbers and the time it is given. Must not know what is being limited.
"""

from msgspec import Struct

from chat_protocol import events
from chat_protocol.framing.lines import MAX_FRAME
from chat_protocol.message_text import MAX_MESSAGE


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
            frame_bytes=MAX_FRAME,
            message_bytes=MAX_MESSAGE,
            rooms=self.max_rooms,
            conversations=self.max_conversations,
            messages_per_second=self.rate_messages,
            message_burst=self.rate_messages_burst,
            bytes_per_second=self.rate_bytes,
            byte_burst=self.rate_bytes_burst,
        )


class TokenBucket:
    """Allows `rate` a second on the long run and `burst` at once (RFC 2697 calls it a token bucket)."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one token; return 0, or the seconds until there is one."""
        self._refill(now)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def charge(self, amount: float, now: float) -> None:
        """Take `amount` tokens, though there may be none: what has come has come."""
        self._refill(now)
        self._tokens -= amount

    def debt(self, now: float) -> float:
        """Return the seconds until the bucket is not in debt, 0 if it is not."""
        if self._tokens >= 0:
            return 0.0
        self._refill(now)
        return max(0.0, -self._tokens / self._rate)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Allowance:
    """One session's two buckets. Made with its first bytes, so that silent sessions carry none."""

    __slots__ = ("bytes", "limits", "messages")

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.messages = (
            TokenBucket(limits.rate_messages, limits.rate_messages_burst, now)
            if limits.rate_messages
            else None
        )
        self.bytes = (
            TokenBucket(limits.rate_bytes, limits.rate_bytes_burst, now) if limits.rate_bytes else None
        )
