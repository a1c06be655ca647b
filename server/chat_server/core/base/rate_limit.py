"""Token buckets (RFC 2697), and the two of each session: messages and bytes.

Times are monotonic seconds, given by the caller.
"""

from chat_server.core.base.limits import Limits


class TokenBucket:
    """Allows `rate` tokens a second on average, and `burst` at once. `now` is in monotonic seconds."""

    __slots__ = ("_burst", "_rate", "_refilled_at", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1)
        self._tokens = self._burst
        self._refilled_at = now

    def take_token(self, now: float) -> float:
        """Take one token; return 0, or the seconds until one is available."""
        self._refill(now)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def charge(self, amount: float, now: float) -> None:
        """Take `amount` tokens even if the bucket has fewer: the bytes have already been received."""
        self._refill(now)
        self._tokens -= amount

    def debt_seconds(self, now: float) -> float:
        """Return the seconds until the bucket is out of debt, 0 if it has none."""
        if self._tokens >= 0:
            return 0.0
        self._refill(now)
        return max(0.0, -self._tokens / self._rate)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate)
        self._refilled_at = now


class Allowance:
    """The token buckets of one session. Created with its first bytes, so silent sessions cost no memory.

    `now` is in monotonic seconds; a rate of 0 is no limit.
    """

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
