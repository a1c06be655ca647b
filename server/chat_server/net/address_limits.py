"""What one address may do: connections at once, new connections, and hellos that fail.

Knows addresses as text, connections as keys, and the time. Must not know sockets, nor what a hello says.
Nothing here MAY switch greenlets.

What counts as one address is a site (`site`). A bucket is kept only while it is not full, and for so many
sites at most: what a full one would say, a new one says too. An attacker of many addresses gains nothing by
pushing others out, and takes no memory beyond the bound.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Hashable
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from msgspec import Struct

from chat_server.core.base.rate_limit import TokenBucket
from chat_server.core.ports.clock import Clock

MAX_TRACKED_ADDRESSES: Final = 10_000
"""Sites whose buckets are kept, of each kind: about 4 MB; those touched last stay."""

RETRY_AFTER_S: Final = 5.0
"""Seconds after which it is worth while to try again where there was no place."""

MAX_RETRY_AFTER_S: Final = 60.0
"""Seconds that a newcomer is told to wait at most: the last of a storm are not sent away for good."""

MAX_HELLO_DELAY_S: Final = 20.0
"""Seconds after which a hello is heard at the latest, whatever its neighbours do: people wait so long, and
--hello-timeout is longer by default."""

MAX_EARLY_HELLOS: Final = 20
"""Hellos before its turn after which a connection does not listen."""


class AddressLimitSettings(Struct, frozen=True):
    """The settings. Rates are per second and site; 0 is no limit."""

    connections: int = 1000
    rate_connections: float = 100
    rate_connections_burst: int = 2000
    rate_failed_hellos: float = 1
    rate_failed_hellos_burst: int = 20
    limit_loopback: bool = False


class Rejection(NamedTuple):
    """Why somebody is not let in, and after how many seconds it is worth while to come back."""

    message: str
    retry_after_s: float


def address_key(host: str) -> str:
    """Return what counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address.

    Whoever has IPv6 at all has a /64 at the least, as a rule far more (RFC 6177), and each machine takes new
    addresses from it as it likes (RFC 8981): a limit for a single one would limit nobody. Fewer bits would
    put strangers together. An IPv4 client on an IPv6 socket (RFC 4291, 2.5.5.2) is an IPv4 client.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])  # what follows % names our own interface
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return "::1"
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class _AddressBucket:
    """What one site has left of one kind."""

    __slots__ = ("bucket", "promised_until", "used_at")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.used_at = 0.0
        self.promised_until = 0.0  # until then every token has been promised to somebody


class _AddressBuckets:
    """Accounts of one kind, those touched last at the end. A step costs the same however many there are."""

    def __init__(self, rate: float, burst: int, max_debt_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._full_after_s = burst / rate + max_debt_s if rate else 0.0
        self._buckets: OrderedDict[str, _AddressBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket_of(self, key: str) -> TokenBucket | None:
        """Return the bucket of a site, None if it is full."""
        entry = self._buckets.get(key)
        return entry.bucket if entry is not None else None

    def use(self, key: str, now: float) -> _AddressBucket:
        """Return the account of a site, from which something is about to be taken."""
        entry = self._buckets.get(key)
        if entry is None:
            self._evict(now)
            entry = self._buckets[key] = _AddressBucket(TokenBucket(self._rate, self._burst, now))
        else:
            self._buckets.move_to_end(key)
        entry.used_at = now
        return entry

    def _evict(self, now: float) -> None:
        """Drop what is full again, and what there is no place for. Each is dropped once: O(1) in the mean."""
        buckets = self._buckets
        while buckets:
            oldest = next(iter(buckets.values()))
            if len(buckets) < MAX_TRACKED_ADDRESSES and oldest.used_at + self._full_after_s > now:
                return
            buckets.popitem(last=False)


class _HelloReservation:
    """When a connection whose hello was put off is heard, whatever the others do meanwhile."""

    __slots__ = ("at", "early_hellos", "paid")

    def __init__(self, at: float, *, paid: bool) -> None:
        self.at = at
        self.paid = paid  # its token has been taken already
        self.early_hellos = 0


class AddressLimits:
    """All sites that have connections, or had so lately that it still counts."""

    def __init__(self, limits: AddressLimitSettings, clock: Clock) -> None:
        self._clock = clock
        self._connection_counts: Counter[str] = Counter()
        self._reservations: dict[Hashable, _HelloReservation] = {}  # by connection
        self._apply(limits)

    @property
    def limits(self) -> AddressLimitSettings:
        """What holds now; to set others is to forgive what was."""
        return self._limits

    @limits.setter
    def limits(self, limits: AddressLimitSettings) -> None:
        if limits != self._limits:
            self._apply(limits)

    def _apply(self, limits: AddressLimitSettings) -> None:
        self._limits = limits
        self._connection_buckets = _AddressBuckets(
            limits.rate_connections, limits.rate_connections_burst, 0.0
        )
        self._failed_hello_buckets = _AddressBuckets(
            limits.rate_failed_hellos, limits.rate_failed_hellos_burst, MAX_HELLO_DELAY_S
        )
        self._reservations.clear()

    def tracked_counts(self) -> tuple[int, int]:
        """Return of how many sites arrivals and failures are kept."""
        return len(self._connection_buckets), len(self._failed_hello_buckets)

    # Connections

    def admit(self, host: str) -> Rejection | None:
        """Count a connection in, or say why it is not let in."""
        key = address_key(host)
        if not self._is_exempt(key):
            limits = self._limits
            if 0 < limits.connections <= self._connection_counts[key]:
                return Rejection(
                    f"there are {limits.connections} connections from {key} already", RETRY_AFTER_S
                )
            if limits.rate_connections:
                after = self._take_connection_token(key)
                if after:
                    return Rejection(f"too many connections from {key} in too short a time", after)
        self._connection_counts[key] += 1
        return None

    def release(self, host: str, connection: Hashable) -> None:
        """Count a connection out; its turn passes to nobody."""
        key = address_key(host)
        self._connection_counts[key] -= 1
        if not self._connection_counts[key]:
            del self._connection_counts[key]
        if connection in self._reservations:
            self._end_reservation(key, connection, self._clock.monotonic())

    def _take_connection_token(self, key: str) -> float:
        """Take a token for a new connection; return 0, or the seconds until there is one for it.

        Those who are refused are told times one after the other, so that a storm does not come back as one.
        """
        now = self._clock.monotonic()
        entry = self._connection_buckets.use(key, now)
        wait = entry.bucket.take(now)
        if not wait:
            return 0.0
        wait = min(max(wait, entry.promised_until - now), MAX_RETRY_AFTER_S)
        entry.promised_until = now + wait + 1 / self._limits.rate_connections
        return _rounded_up(wait)

    # Hellos

    def hello_delay(self, host: str, connection: Hashable) -> float:
        """Return 0 if a hello may be heard now, else the seconds after which this connection's will be.

        Once put off, a connection has a turn of its own: its hello is heard then, though others of its
        address go on failing. Only `failed_hello` costs anything.
        """
        key = address_key(host)
        now = self._clock.monotonic()
        reservation = self._reservations.get(connection)
        if reservation is not None:
            if now < reservation.at:
                reservation.early_hellos += 1
                return _rounded_up(reservation.at - now)
            self._end_reservation(key, connection, now)
            return 0.0
        bucket = self._failed_hello_buckets.bucket_of(key)
        if bucket is None:
            return 0.0
        wait = bucket.take(now)
        if not wait:
            bucket.charge(-1, now)
            return 0.0
        paid = wait < MAX_HELLO_DELAY_S
        if paid:
            self._failed_hello_buckets.use(key, now).bucket.charge(1, now)
        wait = min(wait, MAX_HELLO_DELAY_S)
        self._reservations[connection] = _HelloReservation(now + wait, paid=paid)
        return _rounded_up(wait)

    def record_failed_hello(self, host: str) -> None:
        """Note that a hello named what is taken or cannot be, or knew a wrong secret."""
        key = address_key(host)
        if self._is_exempt(key) or not self._limits.rate_failed_hellos:
            return
        now = self._clock.monotonic()
        bucket = self._failed_hello_buckets.use(key, now).bucket
        if bucket.debt(now) < MAX_HELLO_DELAY_S:  # else a long attack would be paid for long after it
            bucket.charge(1, now)

    def floods_hellos(self, connection: Hashable) -> bool:
        """Return whether a connection has said hello before its turn so often that it does not listen."""
        reservation = self._reservations.get(connection)
        return reservation is not None and reservation.early_hellos >= MAX_EARLY_HELLOS

    def _end_reservation(self, key: str, connection: Hashable, now: float) -> None:
        reservation = self._reservations.pop(connection)
        bucket = self._failed_hello_buckets.bucket_of(key)
        if reservation.paid and bucket is not None:
            bucket.charge(-1, now)

    def limited_key(self, host: str) -> str:
        """Return what `host` counts as, empty if it is exempt."""
        key = address_key(host)
        return "" if self._is_exempt(key) else key

    def _is_exempt(self, key: str) -> bool:
        return not self._limits.limit_loopback and (key == "::1" or key.startswith("127."))


def _rounded_up(seconds: float) -> float:
    """Return a time as it is told: hundredths, and not a moment too early."""
    return math.ceil(seconds * 100) / 100
