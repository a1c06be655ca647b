"""Pings, and timeouts of silent and stalled peers. One queue for all sessions.

The interval is the same for all, so a queue in the order of joining is also in the order of due times, and a
tick costs only what is due. Sessions that joined at the same time (all of them, after a restart) would be due
together for ever, and delay all others: so a tick handles at most a few times its fair share, which spreads
them out after the first round.

A silent peer has left two pings unanswered while nothing was queued for it. A stalled peer has taken no byte
for `stalled_timeout` seconds while bytes were queued for it. MUST NOT switch greenlets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chat_protocol.dialects import ndjson
from chat_protocol.errors import ByeReason
from chat_protocol.events import PingEvent

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.core.sessions.session import AnySession

MAX_MISSED_PINGS: Final = 2
"""Unanswered pings after which a session is ended."""
BURST_FACTOR: Final = 4
"""Multiple of the fair share that a tick may handle; so a full round takes a quarter of the interval."""
EXTRA_SESSIONS_PER_TICK: Final = 16
"""Sessions that a tick may handle in addition to that."""


class Heartbeat:
    """Pings each session whose client answers pings, every `interval` seconds (above 0); ends dead ones."""

    def __init__(self, clock: Clock, interval: float, stalled_timeout: float) -> None:
        self._clock = clock
        self._interval = interval
        self._stalled_timeout = stalled_timeout
        self._due: dict[AnySession, float] = {}  # in the order of due times (monotonic seconds)
        self._tick_count = 0
        self._ticked_at = clock.monotonic()

    def watch(self, session: AnySession) -> None:
        """Start pinging a session, one interval from now."""
        self._due[session] = self._clock.monotonic() + self._interval

    def unwatch(self, session: AnySession) -> None:
        """Stop pinging a session."""
        self._due.pop(session, None)

    def tick(self) -> None:
        """Handle the sessions that are due."""
        now = self._clock.monotonic()
        share = min(1.0, BURST_FACTOR * (now - self._ticked_at) / self._interval)
        self._ticked_at = now
        max_sessions = EXTRA_SESSIONS_PER_TICK + int(share * len(self._due))
        due: list[AnySession] = []
        for session, due_at in self._due.items():
            if due_at > now or len(due) == max_sessions:
                break
            due.append(session)
        if not due:
            return
        self._tick_count += 1
        ping_id = str(self._tick_count)
        ping = ndjson.encode(PingEvent(id=ping_id))  # one id per tick: all that are due get the same bytes
        for session in due:
            del self._due[session]
            self._due[session] = now + self._interval
            self._check_session(session, now, ping_id, ping)

    def _check_session(self, session: AnySession, now: float, ping_id: str, ping: bytes) -> None:
        outbox = session.outbox
        if outbox.queued_bytes:
            outbox.send_deferred()
        if outbox.queued_bytes:
            session.missed_pings = 0  # the pings may still be in the queue
            if now - outbox.progress_at > self._stalled_timeout:
                session.link.close_with_bye(ByeReason.STALLED)
            return
        if not session.encoding.has_pings or session.link.paused:
            return
        if session.missed_pings and session.link.made_progress():
            return  # it reads slowly: the pings are not the next bytes yet
        if session.missed_pings >= MAX_MISSED_PINGS:
            session.link.close_with_bye(ByeReason.TIMEOUT)
            return
        session.missed_pings += 1
        session.ping_id = ping_id
        session.ping_sent_at = self._clock.monotonic()
        outbox.put(ping)
