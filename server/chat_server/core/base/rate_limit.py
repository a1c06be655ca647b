"""Token buckets (RFC 2697): those of each session, and those that the sessions of one address share.

Times are monotonic seconds, given by the caller.

Messages over the rate are refused, each with a time of its own at which it will be accepted: so a client that
waits is served, however many of its commands were refused together. Bytes over the rate are left unread, and
TCP slows the peer down; a command is refused for them only where a few frames are more than a second's bytes.
What a command costs beyond one token is known once it is answered, and charged then: the session is in debt,
and its next command waits.
"""

import math
from collections import deque
from typing import Final

from chat_server.core.base.limits import Limits

UNREAD_DEBT_S: Final = 0.5
"""Debt of bytes above which a peer is not read: long enough for few wake-ups, short enough for an answer."""

REFUSED_DEBT_S: Final = 1.0
"""Debt of bytes above which commands are refused. It is the longer one, so that at usual rates, where a read
is a small part of a second's bytes, a peer is slowed down and nothing is refused."""

MAX_WAITING: Final = 2000
"""Refused commands of a session that may wait for their time; a client has at most 1,024 unacknowledged
(docs/protocol.md). One that has more does not wait. Takes 64 KB at most."""

KEPT_PROMISE_S: Final = 10.0
"""Seconds by which a refused command may miss its time."""

MAX_ADDRESS_DEBT_S: Final = 5.0
"""Maximum debt of an address, in seconds: its other users wait that long, whatever one of them does."""

MAX_ADDRESS_WAIT_S: Final = 20.0
"""Maximum of the times that are promised to commands of one address, in seconds from now."""

_GOLDEN_RATIO: Final = 0.618  # its multiples, modulo 1, spread evenly over 0 to 1


def rounded_up(seconds: float) -> float:
    """Return a `retry_after` in hundredths of a second, rounded up: a peer must not come too early."""
    return math.ceil(seconds * 100) / 100


class TokenBucket:
    """Allows `rate` tokens a second on average, and `burst` at once. `now` is in monotonic seconds.

    `tokens` is as of `refilled_at`, and below 0 in debt.
    """

    __slots__ = ("burst", "rate", "refilled_at", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(burst, 1)
        self.tokens: float = self.burst
        self.refilled_at = now

    def take_token(self, now: float) -> float:
        """Take one token; return 0, or the seconds until one is available."""
        self._refill(now)
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate

    def charge(self, amount: float, now: float) -> None:
        """Take `amount` tokens even if the bucket has fewer: the bytes have already been received."""
        self._refill(now)
        self.tokens -= amount

    def seconds_to(self, tokens: float, now: float) -> float:
        """Return the seconds until the bucket has so many tokens, 0 if it has them."""
        self._refill(now)
        return max(0.0, (tokens - self.tokens) / self.rate)

    def debt_seconds(self, now: float) -> float:
        """Return the seconds until the bucket is out of debt, 0 if it has none."""
        if self.tokens >= 0:
            return 0.0
        return self.seconds_to(0, now)

    def _refill(self, now: float) -> None:
        self.tokens = min(self.burst, self.tokens + (now - self.refilled_at) * self.rate)
        self.refilled_at = now


class AddressAllowance:
    """What the sessions of one address may do together: their limits times `Limits.rate_address_factor`.

    A new connection gets no tokens of its own here. Its debt is bounded, unlike that of a session: the others
    behind a router are not kept waiting for long by one of them.
    """

    __slots__ = ("__weakref__", "_promised_until", "_spread", "bytes", "messages")

    def __init__(self, limits: Limits, now: float) -> None:
        factor = limits.rate_address_factor
        self.messages = _bucket(limits.rate_messages * factor, limits.rate_messages_burst * factor, now)
        self.bytes = _bucket(limits.rate_bytes * factor, limits.rate_bytes_burst * factor, now)
        self._promised_until = 0.0  # all tokens until then are promised to refused commands
        self._spread = 0.0

    def charge_bytes(self, size: int, now: float) -> float:
        """Charge bytes that were received; return the seconds for which the peer is not to be read."""
        bucket = self.bytes
        if bucket is None:
            return 0.0
        bucket.charge(size, now)
        if bucket.tokens >= -UNREAD_DEBT_S * bucket.rate:
            return 0.0
        bucket.tokens = max(bucket.tokens, -MAX_ADDRESS_DEBT_S * bucket.rate)
        # A thousand peers that are in debt together are not to be read again all at once.
        wait = bucket.debt_seconds(now) * (1 + self._spread)
        self._spread = (self._spread + _GOLDEN_RATIO) % 1
        return wait

    def take_token(self, now: float) -> bool:
        """Take the token of a command and return True, or return False if there is none."""
        bucket = self.messages
        return bucket is None or not bucket.take_token(now)

    def charge(self, tokens: float, now: float) -> None:
        """Charge commands, up to the maximum debt."""
        bucket = self.messages
        if bucket is not None:
            bucket.charge(tokens, now)
            bucket.tokens = max(bucket.tokens, -max(MAX_ADDRESS_DEBT_S * bucket.rate, 1))

    def seconds_to_token(self, now: float, *, waited: bool) -> float:
        """Return 0 if there is a token for a command, else the seconds after which there will be one.

        A command that has `waited` comes before those that have not: it may leave the bucket in debt.
        """
        bucket = self.messages
        if bucket is None or not bucket.seconds_to(self._lowest_debt() if waited else 1, now):
            return 0.0
        wait = min(max(bucket.seconds_to(1, now), self._promised_until - now), MAX_ADDRESS_WAIT_S)
        self._promised_until = now + wait + 1 / bucket.rate
        return wait

    def _lowest_debt(self) -> float:
        """Return the tokens down to which one that has waited is served: above the maximum debt."""
        bucket = self.messages
        return 0.0 if bucket is None else -min(bucket.burst - 1, MAX_ADDRESS_DEBT_S * bucket.rate / 2)

    def is_full(self, now: float) -> bool:
        """Return whether all buckets are full: then it behaves like a new one."""
        return not any(
            bucket is not None and bucket.seconds_to(bucket.burst, now)
            for bucket in (self.messages, self.bytes)
        )


class Allowance:
    """The token buckets of one session. Created with its first bytes, so silent sessions cost no memory.

    `address`: what it shares with the other sessions of its address, None if that is exempt. `now` is in
    monotonic seconds; a rate of 0 is no limit.
    """

    __slots__ = ("_promises", "address", "bytes", "has_bytes_limit", "limits", "messages")

    def __init__(self, limits: Limits, now: float, address: AddressAllowance | None = None) -> None:
        self.limits = limits
        self.address = address
        self.messages = _bucket(limits.rate_messages, limits.rate_messages_burst, now)
        self.bytes = _bucket(limits.rate_bytes, limits.rate_bytes_burst, now)
        self.has_bytes_limit = self.bytes is not None or address is not None
        self._promises: deque[float] | None = None  # when refused commands will be accepted, ascending

    def charge_bytes(self, size: int, now: float) -> float:
        """Charge bytes that were received; return the seconds for which the peer is not to be read."""
        unread = 0.0
        bucket = self.bytes
        if bucket is not None:  # as `TokenBucket.charge`: this runs for every read
            rate, burst = bucket.rate, bucket.burst
            tokens = bucket.tokens + (now - bucket.refilled_at) * rate
            tokens = min(tokens, burst)
            bucket.tokens = tokens = tokens - size
            bucket.refilled_at = now
            if tokens < -UNREAD_DEBT_S * rate:
                unread = -tokens / rate
        if self.address is not None:
            unread = max(unread, self.address.charge_bytes(size, now))
        return unread

    def take(self, now: float, *, counted: bool, first: bool = False) -> float:
        """Take what a command costs at least; return 0, or the seconds after which it will be accepted.

        `counted`: takes a token of the message rate. `first`: the session has no name yet.
        """
        bucket = self.bytes
        if bucket is None or bucket.tokens >= -REFUSED_DEBT_S * bucket.rate:
            # Most commands end here; `_take_or_promise` comes to the same.
            bucket = self.messages
            if bucket is None or not counted:
                return 0.0
            tokens = bucket.tokens + (now - bucket.refilled_at) * bucket.rate
            if tokens >= 1 and (self.address is None or self.address.take_token(now)):
                tokens = min(tokens, bucket.burst)
                bucket.tokens = tokens - 1
                bucket.refilled_at = now
                return 0.0
        return self._take_or_promise(now, counted=counted, first=first)

    def charge(self, tokens: float, now: float) -> None:
        """Charge what a command has cost besides its first token, even if that is more than there is."""
        if self.messages is not None:
            self.messages.charge(tokens, now)
        if self.address is not None:
            self.address.charge(tokens, now)

    def is_flooding(self, now: float) -> bool:
        """Return whether far more commands were sent than a client may have waiting for their time."""
        if self._promises is None or len(self._promises) <= MAX_WAITING:
            return False
        return sum(at > now for at in self._promises) > MAX_WAITING

    def _take_or_promise(self, now: float, *, counted: bool, first: bool) -> float:
        waited = self._take_promise(now)
        wait = self._seconds_to_wait(now, counted=counted, first=first, waited=waited)
        if not wait:
            if counted:
                self.charge(1, now)
            return 0.0
        if self._promises is None:
            self._promises = deque()
        at = now + wait
        if self._promises:  # one after the other, so that those refused together do not come again together
            at = max(at, self._promises[-1] + (1 / self.messages.rate if counted and self.messages else 0.0))
        self._promises.append(at)
        return at - now

    def _take_promise(self, now: float) -> bool:
        """Return whether a refused command was promised to be accepted by now; the promise is used up."""
        promises = self._promises
        while promises:
            at = promises[0]
            if at > now:
                return False
            promises.popleft()
            if at >= now - KEPT_PROMISE_S:
                return True
        return False

    def _seconds_to_wait(self, now: float, *, counted: bool, first: bool, waited: bool) -> float:
        """Return 0 if a command is accepted; what has `waited` may leave the buckets in debt."""
        wait = 0.0
        if self.bytes is not None and not waited:
            debt = self.bytes.debt_seconds(now)
            wait = debt if debt > REFUSED_DEBT_S else 0.0
        if counted and self.messages is not None:
            bucket = self.messages  # a burst of dear commands that have waited is enough
            if bucket.seconds_to(1 - bucket.burst if waited else 1, now):
                wait = max(wait, bucket.seconds_to(1, now))
        if counted and self.address is not None and not wait:
            wait = self.address.seconds_to_token(now, waited=waited or first)
        return wait


def _bucket(rate: float, burst: float, now: float) -> TokenBucket | None:
    """Return a full bucket, None for a rate of 0: there is no limit."""
    return TokenBucket(rate, burst, now) if rate else None
