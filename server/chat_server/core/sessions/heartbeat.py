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

MAX_MISSED_PINGS: Final = 2
"""Pings without an answer after which a session is over."""
BURST_FACTOR: Final = 4
"""Times as many at once as if all were due evenly: so the last of all waits for a quarter of the interval."""
EXTRA_SESSIONS_PER_TICK: Final = 16
"""Sessions that a tick may take besides."""


class Heartbeat:
    """Pings each native session every `interval` seconds; ends the silent and the stalled."""

    def __init__(self, clock: Clock, interval: float, stalled_timeout: float) -> None:
        self._clock = clock
        self._interval = interval
        self._stalled_timeout = stalled_timeout
        self._due: dict[Session, float] = {}  # in the order of its times
        self._tick_count = 0
        self._ticked_at = clock.monotonic()

    def watch(self, session: Session) -> None:
        """Watch over a session."""
        self._due[session] = self._clock.monotonic() + self._interval

    def unwatch(self, session: Session) -> None:
        """Stop watching over a session."""
        self._due.pop(session, None)

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock.monotonic()
        share = min(1.0, BURST_FACTOR * (now - self._ticked_at) / self._interval)
        self._ticked_at = now
        max_sessions = EXTRA_SESSIONS_PER_TICK + int(share * len(self._due))
        due: list[Session] = []
        for session, due_at in self._due.items():
            if due_at > now or len(due) == max_sessions:
                break
            due.append(session)
        if not due:
            return
        self._tick_count += 1
        ping_id = str(self._tick_count)
        ping = ndjson.encode(PingEvent(id=ping_id))  # one id a tick: all that are due get the same bytes
        for session in due:
            del self._due[session]
            self._due[session] = now + self._interval
            self._check_session(session, now, ping_id, ping)

    def _check_session(self, session: Session, now: float, ping_id: str, ping: bytes) -> None:
        outbox = session.outbox
        if outbox.queued_bytes:
            session.missed_pings = 0  # the pings may still be among what waits
            if now - outbox.progress_at > self._stalled_timeout:
                session.link.close_with_bye(ByeReason.STALLED)
            return
        if session.dialect != NDJSON or session.paused:
            return
        if session.missed_pings and session.link.made_progress():
            return  # it reads, slowly: the pings are still in front of it
        if session.missed_pings >= MAX_MISSED_PINGS:
            session.link.close_with_bye(ByeReason.TIMEOUT)
            return
        session.missed_pings += 1
        session.ping_id = ping_id
        session.ping_sent_at = self._clock.monotonic()
        outbox.put(ping)
