"""Seats: sessions that may be resumed, and those of them that are away, for as long as their names are held.

Knows secrets by their hashes and the time. Must not know what a session takes with it (chat/hub.py).
MUST NOT switch greenlets.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from chat_server.core.base.limits import Limits
from chat_server.core.ports.clock import Clock
from chat_server.core.sessions.session import Session

RESUME_HOLD_S: Final = 300.0
"""Seconds for which a name is held after a cut (docs/protocol.md); a setting."""


EXPIRY_GRACE_S: Final = 0.3
"""Seconds for the store to hear of an end before everybody else does."""


def hash_secret(secret: str) -> bytes:
    """Return what is kept of a session's secret: enough to know it again, useless to a thief.

    The secret has 192 random bits, so a plain SHA-256 cannot be reversed by guessing.
    """
    return hashlib.sha256(secret.encode()).digest()


class ResumableSessions:
    """The sessions that may come back."""

    def __init__(
        self, clock: Clock, hold_s: float, limits: Callable[[], Limits], expire: Callable[[Session], None]
    ) -> None:
        self._clock = clock
        self._hold_s = hold_s
        self._limits = limits
        self._expire = expire
        self._by_hash: dict[bytes, Session] = {}
        self._held: dict[Session, tuple[float, str]] = {}  # -> until when, in order, and from which site
        self._expiring: dict[Session, float] = {}  # -> when everybody is to hear of their end
        self._by_address: dict[str, OrderedDict[Session, None]] = {}  # oldest first

    @property
    def held_count(self) -> int:
        """Sessions that are away, their names held."""
        return len(self._held) + len(self._expiring)

    def find_by_secret(self, secret: str) -> Session | None:
        """Return the session with this secret, connected or away."""
        return self._by_hash.get(hash_secret(secret))

    def register(self, session: Session) -> None:
        """Take in a session that the store has."""
        assert session.record is not None
        self._by_hash[session.record.secret_hash] = session

    def unregister(self, session: Session) -> None:
        """Forget a session that has ended for good."""
        if session.record is not None:
            self._by_hash.pop(session.record.secret_hash, None)
        self.stop_holding(session)

    def hold(self, session: Session, address_key: str = "") -> None:
        """Hold the seat of a session that was cut.

        Too many are held for a shorter time: each site gives up its own oldest first, so who comes and goes
        in a loop drives out no others. Over the bound for all, `tick` lets the oldest go.
        """
        self._held[session] = (self._clock.monotonic() + self._hold_s, address_key)
        if address_key:
            same_address = self._by_address.setdefault(address_key, OrderedDict())
            same_address[session] = None
            if len(same_address) > self._limits().max_held_per_address > 0:
                self._expire(next(iter(same_address)))

    def start_expiry(self, session: Session) -> None:
        """Hold a seat whose time is up for a moment more; nobody can take it any longer."""
        self.stop_holding(session)
        self._expiring[session] = self._clock.monotonic() + EXPIRY_GRACE_S

    def stop_holding(self, session: Session) -> None:
        """Give a seat back to its session, which has a connection again."""
        self._expiring.pop(session, None)
        _, address_key = self._held.pop(session, (0.0, ""))
        if address_key:
            same_address = self._by_address[address_key]
            del same_address[session]
            if not same_address:
                del self._by_address[address_key]

    def tick(self) -> None:
        """End the sessions whose time is up, and the oldest of those that are too many."""
        now, max_held = self._clock.monotonic(), self._limits().max_held
        for session, deadline in list(self._expiring.items()):
            if deadline <= now:
                self._expire(session)
        while self._held:
            session, (until, _) = next(iter(self._held.items()))
            if until > now and not len(self._held) > max_held > 0:
                return
            self._expire(session)
