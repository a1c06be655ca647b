"""Client-side rate limiting: keeps below the limits in the server's `welcome`.

A text of many lines then arrives complete and in order, instead of being rejected in part. Computes only: the
caller sleeps.
"""

import time
from collections.abc import Callable

from chat_protocol.events import Limits

_RATE_SHARE = 0.95  # of the sustained rate, as clocks differ
_BURST_SHARE = 0.8  # of the burst, as packets may arrive closer together than they were sent
_FRAME_OVERHEAD_BYTES = 200  # of a frame besides its text: type, room, ref, quotes


class Pacer:
    """Two token buckets, for messages and bytes; a limit of 0 means no limit. `clock`: monotonic seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._messages = _TokenBucket(limits.messages_per_second, limits.message_burst, clock())
        self._bytes = _TokenBucket(limits.bytes_per_second, limits.byte_burst, clock())

    def next_wait(self, size: int) -> float:
        """Account for a message of `size` bytes; return the seconds to wait before sending it."""
        now = self._clock()
        return max(self._messages.consume(1, now), self._bytes.consume(size + _FRAME_OVERHEAD_BYTES, now))


class _TokenBucket:
    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate * _RATE_SHARE
        self._burst = max(1.0, burst * _BURST_SHARE)
        self._level = self._burst
        self._refilled_at = now

    def consume(self, amount: float, now: float) -> float:
        if self._rate <= 0:
            return 0.0
        self._level = min(self._burst, self._level + (now - self._refilled_at) * self._rate)
        self._refilled_at = now
        self._level -= amount
        return max(0.0, -self._level / self._rate)
