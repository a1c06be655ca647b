"""Limits per address: connections at once, rate of new connections, rate of failed hellos.

MUST NOT switch greenlets.

Addresses are grouped by `address_key`. A token bucket is kept only while it is not full, and for a bounded
number of keys: a new bucket behaves like a full one. So an attacker with many addresses gains nothing by
evicting other buckets, and cannot use memory beyond the bound.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from msgspec import Struct

from chat_server.core.base.rate_limit import TokenBucket, rounded_up
from chat_server.core.ports.clock import Clock

MAX_TRACKED_ADDRESSES: Final = 10_000
"""Addresses with a bucket, of each kind: about 4 MB; the least recently used are evicted."""

RETRY_AFTER_S: Final = 5.0
"""Seconds after which a connection rejected because there are too many should try again."""

MAX_RETRY_AFTER_S: Final = 60.0
"""Maximum of a rejection's `after`, in seconds, so that the last of a storm of clients come back at all."""

MAX_HELLO_DELAY_S: Final = 20.0
"""Maximum delay of a hello, in seconds, whatever others at the address do: users wait that long, and
--hello-timeout is longer by default."""

MAX_EARLY_HELLOS: Final = 20
"""Hellos before its `retry_after` after which a connection counts as flooding."""


class AddressLimitSettings(Struct, frozen=True):
    """The settings. Rates are per second and address; 0 means no limit."""

    connections: int = 1000
    rate_connections: float = 100
    rate_connections_burst: int = 2000
    rate_failed_hellos: float = 1
    rate_failed_hellos_burst: int = 20
    limit_loopback: bool = False


class Rejection(NamedTuple):
    """Why a connection is rejected, as a sentence for the peer, and after how many seconds to try again."""

    message: str
    retry_after_s: float


def address_key(host: str) -> str:
    """Return the rate-limit key of an address: an IPv4 address, or the first 64 bits of an IPv6 address.

    An IPv6 site has at least a /64, usually far more (RFC 6177), and each machine takes new addresses from it
    at will (RFC 8981), so a limit for a single address would have no effect. Fewer than 64 bits would join
    unrelated users. An IPv4 client on an IPv6 socket (RFC 4291, 2.5.5.2) counts as an IPv4 client.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])  # the part after % is our own interface
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return "::1"
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class _AddressBucket:
    """The token bucket of one address."""

    __slots__ = ("bucket", "promised_until", "used_at")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.used_at = 0.0
        self.promised_until = 0.0  # all tokens until then are promised to rejected connections


class _AddressBuckets:
    """Token buckets by address, in order of last use; `now`: monotonic s. Operations are O(1), amortised."""

    def __init__(self, rate: float, burst: int, max_debt_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._full_after_s = burst / rate + max_debt_s if rate else 0.0
        self._buckets: OrderedDict[str, _AddressBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket_of(self, key: str) -> TokenBucket | None:
        """Return the bucket of an address, None if it is full."""
        entry = self._buckets.get(key)
        return entry.bucket if entry is not None else None

    def use(self, key: str, now: float) -> _AddressBucket:
        """Return the bucket of an address, created if necessary, and mark it as used."""
        entry = self._buckets.get(key)
        if entry is None:
            self._evict(now)
            entry = self._buckets[key] = _AddressBucket(TokenBucket(self._rate, self._burst, now))
        else:
            self._buckets.move_to_end(key)
        entry.used_at = now
        return entry

    def _evict(self, now: float) -> None:
        """Drop buckets that are full again, and the least recently used beyond the bound."""
        buckets = self._buckets
        while buckets:
            oldest = next(iter(buckets.values()))
            if len(buckets) < MAX_TRACKED_ADDRESSES and oldest.used_at + self._full_after_s > now:
                return
            buckets.popitem(last=False)


class _HelloReservation:
    """When (`at`, monotonic s) a delayed hello of a connection is accepted, whatever others do until then."""

    __slots__ = ("at", "early_hellos", "paid")

    def __init__(self, at: float, *, paid: bool) -> None:
        self.at = at
        self.paid = paid  # its token has been taken from the bucket
        self.early_hellos = 0


class AddressLimits:
    """Connection counts and token buckets of all addresses that are connected, or were recently."""

    def __init__(self, limits: AddressLimitSettings, clock: Clock) -> None:
        self._clock = clock
        self._connection_counts: Counter[str] = Counter()
        self._reservations: dict[Hashable, _HelloReservation] = {}  # by connection
        self._apply(limits)

    @property
    def limits(self) -> AddressLimitSettings:
        """The limits in force; setting others resets all buckets and reservations."""
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
        """Return the number of buckets for new connections and for failed hellos."""
        return len(self._connection_buckets), len(self._failed_hello_buckets)

    # Connections

    def admit(self, host: str) -> Rejection | None:
        """Count a new connection, or return why it is rejected."""
        key = address_key(host)
        if not self._is_exempt(key):
            limits = self._limits
            if 0 < limits.connections <= self._connection_counts[key]:
                return Rejection(f"{key} already has {limits.connections} connections", RETRY_AFTER_S)
            if limits.rate_connections:
                after = self._take_connection_token(key)
                if after:
                    return Rejection(f"too many new connections from {key}", after)
        self._connection_counts[key] += 1
        return None

    def release(self, host: str, connection: Hashable) -> None:
        """Count a closed connection; its hello reservation is dropped."""
        key = address_key(host)
        self._connection_counts[key] -= 1
        if not self._connection_counts[key]:
            del self._connection_counts[key]
        if connection in self._reservations:
            self._end_reservation(key, connection, self._clock.monotonic())

    def _take_connection_token(self, key: str) -> float:
        """Take a token for a new connection; return 0, or the seconds until there is one for it.

        Rejected connections get different times, one token apart, so that a storm does not return all at
        once.
        """
        now = self._clock.monotonic()
        entry = self._connection_buckets.use(key, now)
        wait = entry.bucket.take_token(now)
        if not wait:
            return 0.0
        wait = min(max(wait, entry.promised_until - now), MAX_RETRY_AFTER_S)
        entry.promised_until = now + wait + 1 / self._limits.rate_connections
        return rounded_up(wait)

    # Hellos

    def hello_delay(self, host: str, connection: Hashable) -> float:
        """Return 0 if a hello is accepted now, else the seconds after which this connection's will be.

        A delayed connection has a reservation: its hello is accepted then, even if others at its address go
        on failing. Only `record_failed_hello` uses up tokens.
        """
        key = address_key(host)
        now = self._clock.monotonic()
        reservation = self._reservations.get(connection)
        if reservation is not None:
            if now < reservation.at:
                reservation.early_hellos += 1
                return rounded_up(reservation.at - now)
            self._end_reservation(key, connection, now)
            return 0.0
        bucket = self._failed_hello_buckets.bucket_of(key)
        if bucket is None:
            return 0.0
        wait = bucket.take_token(now)
        if not wait:
            bucket.charge(-1, now)
            return 0.0
        paid = wait < MAX_HELLO_DELAY_S
        if paid:
            self._failed_hello_buckets.use(key, now).bucket.charge(1, now)
        wait = min(wait, MAX_HELLO_DELAY_S)
        self._reservations[connection] = _HelloReservation(now + wait, paid=paid)
        return rounded_up(wait)

    def record_failed_hello(self, host: str) -> None:
        """Record a hello with a taken or invalid name, or an unknown secret."""
        key = address_key(host)
        if self._is_exempt(key) or not self._limits.rate_failed_hellos:
            return
        now = self._clock.monotonic()
        bucket = self._failed_hello_buckets.use(key, now).bucket
        if bucket.debt_seconds(now) < MAX_HELLO_DELAY_S:  # or a long attack would delay hellos long after it
            bucket.charge(1, now)

    def floods_hellos(self, connection: Hashable) -> bool:
        """Return whether a connection has ignored its `retry_after` so often that it must be ended."""
        reservation = self._reservations.get(connection)
        return reservation is not None and reservation.early_hellos >= MAX_EARLY_HELLOS

    def _end_reservation(self, key: str, connection: Hashable, now: float) -> None:
        reservation = self._reservations.pop(connection)
        bucket = self._failed_hello_buckets.bucket_of(key)
        if reservation.paid and bucket is not None:
            bucket.charge(-1, now)

    def limited_key(self, host: str) -> str:
        """Return the rate-limit key of `host`, empty if it is exempt from limits."""
        key = address_key(host)
        return "" if self._is_exempt(key) else key

    def _is_exempt(self, key: str) -> bool:
        return not self._limits.limit_loopback and (key == "::1" or key.startswith("127."))
