"""Pings and deadlines of all sessions, from one queue.

The interval is the same for all, so a queue in the order of joining is in the order of due times, and a tick
costs what is due and no more. Those who came at the same moment, as all do after a restart, would be due
together ever after, and everybody would wait meanwhile: a tick takes a few times its fair share at most, so
that they are spread after the first time.

A silent peer is one that answers none of two pings, though nothing waits for it; a stalled one takes no byte
for `stalled_timeout` seconds while bytes wait for it. MUST NOT switch greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chat_protocol.dialects import ndjson
from chat_protocol.dialects.base import NDJSON
from chat_protocol.errors import ByeReason
from chat_protocol.events import PingEvent

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.core.sessions.session import Session

UNANSWERED: Final = 2
"""Pings without an answer after which a session is over."""
SPREAD: Final = 4
"""Times as many at once as if all were due evenly: so the last of all waits for a quarter of the interval."""
AT_ONCE: Final = 16
"""Sessions that a tick may take besides."""


class Heartbeat:
    """Pings each native session every `interval` seconds; ends the silent and the stalled."""

    def __init__(self, clock: Clock, interval: float, stalled_timeout: float) -> None:
        self._clock = clock
        self._interval = interval
        self._stalled_timeout = stalled_timeout
        self._due: dict[Session, float] = {}  # in the order of its times
        self._count = 0
        self._ticked = clock.monotonic()

    def add(self, session: Session) -> None:
        """Watch over a session."""
        self._due[session] = self._clock.monotonic() + self._interval

    def remove(self, session: Session) -> None:
        """Stop watching over a session."""
        self._due.pop(session, None)

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock.monotonic()
        share = min(1.0, SPREAD * (now - self._ticked) / self._interval)
        self._ticked = now
        most = AT_ONCE + int(share * len(self._due))
        due: list[Session] = []
        for session, when in self._due.items():
            if when > now or len(due) == most:
                break
            due.append(session)
        if not due:
            return
        self._count += 1
        ping_id = str(self._count)
        ping = ndjson.encode(PingEvent(id=ping_id))  # one id a tick: all that are due get the same bytes
        for session in due:
            del self._due[session]
            self._due[session] = now + self._interval
            self._watch(session, now, ping_id, ping)

    def _watch(self, session: Session, now: float, ping_id: str, ping: bytes) -> None:
        outbox = session.outbox
        if outbox.waiting:
            session.unanswered = 0  # the pings may still be among what waits
            if now - outbox.moved_at > self._stalled_timeout:
                session.link.end(ByeReason.STALLED)
            return
        if session.dialect != NDJSON or session.paused:
            return
        if session.unanswered and session.link.taking():
            return  # it reads, slowly: the pings are still in front of it
        if session.unanswered >= UNANSWERED:
            session.link.end(ByeReason.TIMEOUT)
            return
        session.unanswered += 1
        session.ping_id = ping_id
        session.ping_at = self._clock.monotonic()
        outbox.put(ping)
