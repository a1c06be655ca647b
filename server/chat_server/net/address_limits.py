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

MAX_SITES: Final = 10_000
"""Sites whose buckets are kept, of each kind: about 4 MB; those touched last stay."""

COME_BACK: Final = 5.0
"""Seconds after which it is worth while to try again where there was no place."""

LONGEST_AFTER: Final = 60.0
"""Seconds that a newcomer is told to wait at most: the last of a storm are not sent away for good."""

LONGEST_TURN: Final = 20.0
"""Seconds after which a hello is heard at the latest, whatever its neighbours do: people wait so long, and
--hello-timeout is longer by default."""

MAX_HASTY: Final = 20
"""Hellos before its turn after which a connection does not listen."""


class AddressLimits(Struct, frozen=True):
    """The settings. Rates are per second and site; 0 is no limit."""

    connections: int = 1000
    rate_connections: float = 100
    rate_connections_burst: int = 2000
    rate_failed_hellos: float = 1
    rate_failed_hellos_burst: int = 20
    limit_loopback: bool = False


class Refusal(NamedTuple):
    """Why somebody is not let in, and after how many seconds it is worth while to come back."""

    message: str
    after: float


def site(host: str) -> str:
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


class _Account:
    """What one site has left of one kind."""

    __slots__ = ("bucket", "promised", "touched")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.touched = 0.0
        self.promised = 0.0  # until then every token has been promised to somebody


class _Accounts:
    """Accounts of one kind, those touched last at the end. A step costs the same however many there are."""

    def __init__(self, rate: float, burst: int, longest_debt: float) -> None:
        self._rate = rate
        self._burst = burst
        self._full_after = burst / rate + longest_debt if rate else 0.0
        self._kept: OrderedDict[str, _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, key: str) -> TokenBucket | None:
        """Return the bucket of a site, None if it is full."""
        account = self._kept.get(key)
        return account.bucket if account is not None else None

    def touch(self, key: str, now: float) -> _Account:
        """Return the account of a site, from which something is about to be taken."""
        account = self._kept.get(key)
        if account is None:
            self._forget(now)
            account = self._kept[key] = _Account(TokenBucket(self._rate, self._burst, now))
        else:
            self._kept.move_to_end(key)
        account.touched = now
        return account

    def _forget(self, now: float) -> None:
        """Drop what is full again, and what there is no place for. Each is dropped once: O(1) in the mean."""
        kept = self._kept
        while kept:
            oldest = next(iter(kept.values()))
            if len(kept) < MAX_SITES and oldest.touched + self._full_after > now:
                return
            kept.popitem(last=False)


class _Turn:
    """When a connection whose hello was put off is heard, whatever the others do meanwhile."""

    __slots__ = ("at", "hasty", "paid")

    def __init__(self, at: float, *, paid: bool) -> None:
        self.at = at
        self.paid = paid  # its token has been taken already
        self.hasty = 0


class Addresses:
    """All sites that have connections, or had so lately that it still counts."""

    def __init__(self, limits: AddressLimits, clock: Clock) -> None:
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._turns: dict[Hashable, _Turn] = {}  # by connection
        self._apply(limits)

    @property
    def limits(self) -> AddressLimits:
        """What holds now; to set others is to forgive what was."""
        return self._limits

    @limits.setter
    def limits(self, limits: AddressLimits) -> None:
        if limits != self._limits:
            self._apply(limits)

    def _apply(self, limits: AddressLimits) -> None:
        self._limits = limits
        self._arrivals = _Accounts(limits.rate_connections, limits.rate_connections_burst, 0.0)
        self._failures = _Accounts(limits.rate_failed_hellos, limits.rate_failed_hellos_burst, LONGEST_TURN)
        self._turns.clear()

    def held(self) -> tuple[int, int]:
        """Return of how many sites arrivals and failures are kept."""
        return len(self._arrivals), len(self._failures)

    # Connections

    def enter(self, host: str) -> Refusal | None:
        """Count a connection in, or say why it is not let in."""
        key = site(host)
        if not self._exempt(key):
            limits = self._limits
            if 0 < limits.connections <= self._open[key]:
                return Refusal(f"there are {limits.connections} connections from {key} already", COME_BACK)
            if limits.rate_connections:
                after = self._arrive(key)
                if after:
                    return Refusal(f"too many connections from {key} in too short a time", after)
        self._open[key] += 1
        return None

    def leave(self, host: str, connection: Hashable) -> None:
        """Count a connection out; its turn passes to nobody."""
        key = site(host)
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
        if connection in self._turns:
            self._end_turn(key, connection, self._clock.monotonic())

    def _arrive(self, key: str) -> float:
        """Take a token for a new connection; return 0, or the seconds until there is one for it.

        Those who are refused are told times one after the other, so that a storm does not come back as one.
        """
        now = self._clock.monotonic()
        account = self._arrivals.touch(key, now)
        wait = account.bucket.take(now)
        if not wait:
            return 0.0
        wait = min(max(wait, account.promised - now), LONGEST_AFTER)
        account.promised = now + wait + 1 / self._limits.rate_connections
        return _told(wait)

    # Hellos

    def may_hello(self, host: str, connection: Hashable) -> float:
        """Return 0 if a hello may be heard now, else the seconds after which this connection's will be.

        Once put off, a connection has a turn of its own: its hello is heard then, though others of its
        address go on failing. Only `failed_hello` costs anything.
        """
        key = site(host)
        now = self._clock.monotonic()
        turn = self._turns.get(connection)
        if turn is not None:
            if now < turn.at:
                turn.hasty += 1
                return _told(turn.at - now)
            self._end_turn(key, connection, now)
            return 0.0
        bucket = self._failures.known(key)
        if bucket is None:
            return 0.0
        wait = bucket.take(now)
        if not wait:
            bucket.charge(-1, now)
            return 0.0
        paid = wait < LONGEST_TURN
        if paid:
            self._failures.touch(key, now).bucket.charge(1, now)
        wait = min(wait, LONGEST_TURN)
        self._turns[connection] = _Turn(now + wait, paid=paid)
        return _told(wait)

    def failed_hello(self, host: str) -> None:
        """Note that a hello named what is taken or cannot be, or knew a wrong secret."""
        key = site(host)
        if self._exempt(key) or not self._limits.rate_failed_hellos:
            return
        now = self._clock.monotonic()
        bucket = self._failures.touch(key, now).bucket
        if bucket.debt(now) < LONGEST_TURN:  # else a long attack would be paid for long after it
            bucket.charge(1, now)

    def hasty(self, connection: Hashable) -> bool:
        """Return whether a connection has said hello before its turn so often that it does not listen."""
        turn = self._turns.get(connection)
        return turn is not None and turn.hasty >= MAX_HASTY

    def _end_turn(self, key: str, connection: Hashable, now: float) -> None:
        turn = self._turns.pop(connection)
        bucket = self._failures.known(key)
        if turn.paid and bucket is not None:
            bucket.charge(-1, now)

    def counted(self, host: str) -> str:
        """Return what `host` counts as, empty if it is exempt."""
        key = site(host)
        return "" if self._exempt(key) else key

    def _exempt(self, key: str) -> bool:
        return not self._limits.limit_loopback and (key == "::1" or key.startswith("127."))


def _told(seconds: float) -> float:
    """Return a time as it is told: hundredths, and not a moment too early."""
    return math.ceil(seconds * 100) / 100
