"""Resumable sessions, and those of them that are held: without a connection, until their hold time is over.

What a session keeps while it is held is in chat/session_lifecycle.py. MUST NOT switch greenlets.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from chat_server.core.base.limits import Limits
from chat_server.core.ports.clock import Clock
from chat_server.core.sessions.session import AnySession

RESUME_HOLD_S: Final = 300.0
"""Seconds for which a session is held after its connection was lost (docs/protocol.md); a setting."""


EXPIRY_GRACE_S: Final = 0.3
"""Seconds for the store to commit the end of a session before others see it."""


def hash_secret(secret: str) -> bytes:
    """Return the stored hash of a session's secret.

    The secret has 192 random bits, so a plain SHA-256 cannot be reversed by guessing.
    """
    return hashlib.sha256(secret.encode()).digest()


class ResumableSessions:
    """All resumable sessions by secret, and the held ones by deadline and by address.

    `hold_s` of 0: a session without a connection ends at the next tick.
    """

    def __init__(
        self, clock: Clock, hold_s: float, limits: Callable[[], Limits], expire: Callable[[AnySession], None]
    ) -> None:
        self._clock = clock
        self._hold_s = hold_s
        self._limits = limits
        self._expire = expire
        self._by_hash: dict[bytes, AnySession] = {}
        self._held: dict[AnySession, tuple[float, str]] = {}  # -> (deadline, address key); by deadline
        self._expiring: dict[AnySession, float] = {}  # -> when it is closed (monotonic seconds)
        self._by_address: dict[str, OrderedDict[AnySession, None]] = {}  # oldest first
        self._by_size: dict[int, dict[str, None]] = {}  # addresses by the number of their held sessions

    @property
    def held_count(self) -> int:
        """Number of held sessions."""
        return len(self._held) + len(self._expiring)

    def hold_left(self, sessions: tuple[AnySession, ...]) -> float | None:
        """Return the seconds until the last of these sessions expires; None unless all are held."""
        held = [self._held[session] for session in sessions if session in self._held]
        if not held or len(held) < len(sessions):
            return None
        return max(0.0, max(deadline for deadline, _ in held) - self._clock.monotonic())

    def find_by_secret(self, secret: str) -> AnySession | None:
        """Return the session with this secret, connected or held."""
        return self._by_hash.get(hash_secret(secret))

    def register(self, session: AnySession) -> None:
        """Add a session that is stored."""
        assert session.record is not None
        self._by_hash[session.record.secret_hash] = session

    def unregister(self, session: AnySession) -> None:
        """Remove a session that can no longer be resumed."""
        if session.record is not None:
            self._by_hash.pop(session.record.secret_hash, None)
        self.stop_holding(session)

    def hold(self, session: AnySession, address_key: str = "") -> None:
        """Hold a session whose connection was lost.

        If there are too many, some are held for less time. Each address has a bound of its own and loses its
        own oldest sessions first, so a peer that reconnects in a loop cannot evict those of others. Above the
        bound for all addresses, `tick` ends the oldest of the address that has most. Sessions without an
        address key count as of one address without a bound of its own.
        """
        self._held[session] = (self._clock.monotonic() + self._hold_s, address_key)
        same_address = self._by_address.setdefault(address_key, OrderedDict())
        same_address[session] = None
        self._note_size(address_key, len(same_address) - 1, len(same_address))
        if address_key and len(same_address) > self._limits().max_held_per_address > 0:
            self._expire(next(iter(same_address)))

    def start_expiry(self, session: AnySession) -> None:
        """Keep an expired session until its end is stored; it can no longer be resumed."""
        self.stop_holding(session)
        self._expiring[session] = self._clock.monotonic() + EXPIRY_GRACE_S

    def stop_holding(self, session: AnySession) -> None:
        """Stop holding a session: it has a connection again, or is closed."""
        self._expiring.pop(session, None)
        held = self._held.pop(session, None)
        if held is not None:
            address_key = held[1]
            same_address = self._by_address[address_key]
            del same_address[session]
            self._note_size(address_key, len(same_address) + 1, len(same_address))
            if not same_address:
                del self._by_address[address_key]

    def _note_size(self, address_key: str, before: int, now: int) -> None:
        if before:
            same_size = self._by_size[before]
            del same_size[address_key]
            if not same_size:
                del self._by_size[before]
        if now:
            self._by_size.setdefault(now, {})[address_key] = None

    def tick(self) -> None:
        """End the sessions whose deadline is over, and those above the bound."""
        now, max_held = self._clock.monotonic(), self._limits().max_held
        for session, deadline in list(self._expiring.items()):
            if deadline <= now:
                self._expire(session)
        while self._held:
            session, (until, _) = next(iter(self._held.items()))
            if until > now:
                break
            self._expire(session)
        while len(self._held) > max_held > 0:
            # Of the address that has most; there are few different numbers, however many addresses there are.
            address_key = next(iter(self._by_size[max(self._by_size)]))
            self._expire(next(iter(self._by_address[address_key])))
