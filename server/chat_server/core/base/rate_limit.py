"""Rate limits: token buckets, and the two buckets of a session.

Pure: time is handed in.
"""

from chat_server.core.base.limits import Limits


class TokenBucket:
    """Allows `rate` a second on the long run and `burst` at once (RFC 2697 calls it a token bucket)."""

    __slots__ = ("_burst", "_rate", "_refilled_at", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1)
        self._tokens = self._burst
        self._refilled_at = now

    def take_token(self, now: float) -> float:
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

    def debt_seconds(self, now: float) -> float:
        """Return the seconds until the bucket is not in debt, 0 if it is not."""
        if self._tokens >= 0:
            return 0.0
        self._refill(now)
        return max(0.0, -self._tokens / self._rate)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate)
        self._refilled_at = now


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
