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

RESUME_HOLD: Final = 300.0
"""Seconds for which a name is held after a cut (docs/protocol.md); a setting."""


MOMENT: Final = 0.3
"""Seconds for the store to hear of an end before everybody else does."""


def hash_secret(secret: str) -> bytes:
    """Return what is kept of a session's secret: enough to know it again, useless to a thief.

    The secret has 192 random bits, so a plain SHA-256 cannot be reversed by guessing.
    """
    return hashlib.sha256(secret.encode()).digest()


class Seats:
    """The sessions that may come back."""

    def __init__(
        self, clock: Clock, hold: float, limits: Callable[[], Limits], expire: Callable[[Session], None]
    ) -> None:
        self._clock = clock
        self._hold = hold
        self._limits = limits
        self._expire = expire
        self._by_hash: dict[bytes, Session] = {}
        self._away: dict[Session, tuple[float, str]] = {}  # -> until when, in order, and from which site
        self._ending: dict[Session, float] = {}  # -> when everybody is to hear of their end
        self._of_site: dict[str, OrderedDict[Session, None]] = {}  # oldest first

    @property
    def held(self) -> int:
        """Sessions that are away, their names held."""
        return len(self._away) + len(self._ending)

    def find(self, secret: str) -> Session | None:
        """Return the session with this secret, connected or away."""
        return self._by_hash.get(hash_secret(secret))

    def add(self, session: Session) -> None:
        """Take in a session that the store has."""
        assert session.record is not None
        self._by_hash[session.record.secret_hash] = session

    def remove(self, session: Session) -> None:
        """Forget a session that has ended for good."""
        if session.record is not None:
            self._by_hash.pop(session.record.secret_hash, None)
        self.take(session)

    def hold(self, session: Session, site: str = "") -> None:
        """Hold the seat of a session that was cut.

        Too many are held for a shorter time: each site gives up its own oldest first, so who comes and goes
        in a loop drives out no others. Over the bound for all, `tick` lets the oldest go.
        """
        self._away[session] = (self._clock.monotonic() + self._hold, site)
        if site:
            neighbours = self._of_site.setdefault(site, OrderedDict())
            neighbours[session] = None
            if len(neighbours) > self._limits().max_held_per_address > 0:
                self._expire(next(iter(neighbours)))

    def defer(self, session: Session) -> None:
        """Hold a seat whose time is up for a moment more; nobody can take it any longer."""
        self.take(session)
        self._ending[session] = self._clock.monotonic() + MOMENT

    def take(self, session: Session) -> None:
        """Give a seat back to its session, which has a connection again."""
        self._ending.pop(session, None)
        _, site = self._away.pop(session, (0.0, ""))
        if site:
            neighbours = self._of_site[site]
            del neighbours[session]
            if not neighbours:
                del self._of_site[site]

    def tick(self) -> None:
        """End the sessions whose time is up, and the oldest of those that are too many."""
        now, most = self._clock.monotonic(), self._limits().max_held
        for session, moment in list(self._ending.items()):
            if moment <= now:
                self._expire(session)
        while self._away:
            session, (until, _) = next(iter(self._away.items()))
            if until > now and not len(self._away) > most > 0:
                return
            self._expire(session)
