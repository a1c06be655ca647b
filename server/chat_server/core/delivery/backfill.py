"""Backfill: feeds lagging sessions from the log, each at its own pace, until they are live.

Theory of operation. One mechanism serves three cases: a session is resumed, an outbox is full, or a
conversation is opened or closed while one side cannot be reached. A member is live, lagging or absent
(sessions/membership.py); a lagging one has a cursor: the seq up to which it has everything.

`step` serves one session that is ready (its outbox is empty) with one chunk of one room; sessions and rooms
take turns. An outbox takes a chunk whole or not at all, so backfill queues at most one chunk per session,
and a slow session delays nobody. No chunk goes beyond the room's head. A drained outbox makes its session
ready again; `tick` does that where the store failed, ends stalled sessions, and reports long lags.

A session joins the live feed in the same step in which its cursor is found at the head. No switch of
greenlets is in between, so no message is lost or repeated.

A cursor may begin with `opened` (the client does not know the conversation yet) and end with `closed` at a
fixed seq. Messages that retention has deleted, or that are damaged, are reported by one `gap` event.

`step` may wait in `Log.read` and MUST run in one greenlet only; after the wait it checks that session,
outbox and cursor are still the same. Nothing else here MAY switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chat_protocol.errors import ByeReason
from chat_protocol.events import Gap, Presence
from chat_server.core.delivery.room import CHUNK_BYTES
from chat_server.core.ports.log import Log, StoreUnavailable
from chat_server.core.sessions.cursor import Cursor
from chat_server.core.sessions.lagging import Lagging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chat_protocol.events import MessageEvent
    from chat_server.core.base.interval_stats import IntervalStats
    from chat_server.core.delivery.observer import Observers
    from chat_server.core.delivery.room import Member, Room, Session
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.wakeup import Wakeup

CHUNK_MESSAGES: Final = 128
CHUNK_TEXT_BYTES: Final = 32 * 1024
"""Bounds of one read; with the other fields of each frame it mostly fits into `CHUNK_BYTES`. In memory
messages take several times their size on the wire, so a larger read would raise the peak."""

LAG_LOGGED_AFTER_S: Final = 1.0
"""Seconds of lag after which it is reported in the event log; shorter lags are normal."""

CHECK_INTERVAL_S: Final = 1.0
"""Seconds between two checks of all lagging sessions."""


class Backfill:
    """All lagging sessions, and the order in which they are served.

    `stalled_timeout`: seconds, above 0, for which a peer may take no byte while some are queued for it.
    """

    def __init__(
        self,
        log: Log,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        wakeup: Wakeup,
        observers: Observers,
        *,
        on_closed_sent: Callable[[Session, Member], None],
        stalled_timeout: float,
    ) -> None:
        self.lagging_sessions: dict[Session, None] = {}  # those that are connected
        self._wake = wakeup.wake
        self._observers = observers
        self._on_closed_sent = on_closed_sent
        self._ready: dict[Session, None] = {}
        self._log = log
        self._clock = clock
        self._stats = stats
        self._stalled_timeout = stalled_timeout
        self._checked_at = clock.monotonic()
        self._read_error = ""  # of the last read; empty if it succeeded

    @property
    def idle(self) -> bool:
        """Return whether no session is ready."""
        return not self._ready

    def fall_behind(self, session: Session, membership: Member, seq: int, own_seq: int = 0) -> Cursor:
        """Give a membership a cursor, without the messages after `seq`; return it."""
        lagging = session.lagging
        if lagging is None:
            session.lagging = lagging = Lagging(self._clock.monotonic())
        cursor = Cursor(seq, membership.room.presence_count, own_seq)
        membership.cursor = lagging.memberships[membership] = cursor
        if not session.held:
            self.lagging_sessions[session] = None
        return cursor

    def mark_ready(self, session: Session) -> None:
        """Serve a session soon: its outbox is empty, or its connection has ended."""
        if session.lagging is not None and session not in self._ready:
            self._ready[session] = None
            self._wake()

    def start_resumed(self, session: Session) -> None:
        """Make a resumed session live in rooms where it misses nothing, and feed it in the others."""
        if session.lagging is None:
            return
        for membership, cursor in list(session.lagging.memberships.items()):
            if cursor.closed_event is None and cursor.seq == membership.room.head:
                self._go_live(session, membership, cursor)
        self.mark_ready(session)

    def stop_feeding(self, session: Session) -> None:
        """Do not serve a session any more: it has no connection."""
        self.lagging_sessions.pop(session, None)
        self._ready.pop(session, None)

    def drop_cursor(self, session: Session, membership: Member) -> None:
        """Remove the cursor of a membership, if it has one."""
        lagging = session.lagging
        if membership.cursor is None or lagging is None:
            return
        membership.cursor = None
        del lagging.memberships[membership]
        if not lagging.memberships:
            session.lagging = None
            self._ready.pop(session, None)
            if self.lagging_sessions.pop(session, 0) is None and lagging.logged:
                self._observers.session_caught_up(session, lagging)
        lagging.signal_progress()

    def step(self) -> None:
        """Send one chunk to the next ready session. May wait."""
        session = next(iter(self._ready))
        del self._ready[session]
        lagging, outbox = session.lagging, session.outbox
        if lagging is None:
            return
        if outbox.closed:
            lagging.signal_progress()  # a greenlet that waits for progress must not wait for ever
            return
        if outbox.queued_bytes:
            outbox.send_deferred()
        if outbox.queued_bytes:
            return  # `mark_ready` is called when it is empty
        membership, cursor = lagging.next_membership()
        try:
            self._feed(session, lagging, membership, cursor)
        except StoreUnavailable as error:
            self._note_read(str(error))
            return  # `tick` tries again
        if session.lagging is lagging:
            if session.outbox.queued_bytes:
                session.outbox.send_deferred()
            if not session.outbox.queued_bytes:
                self._ready[session] = None

    def tick(self) -> None:
        """Report long lags, end stalled sessions, and retry where the store failed."""
        now = self._clock.monotonic()
        if now - self._checked_at < CHECK_INTERVAL_S:
            return
        self._checked_at = now
        for session in list(self.lagging_sessions):
            lagging, outbox = session.lagging, session.outbox
            if lagging is None:
                continue
            if outbox.queued_bytes:
                outbox.send_deferred()
            if not outbox.queued_bytes:
                self.mark_ready(session)
            elif now - outbox.progress_at > self._stalled_timeout:
                session.link.close_with_bye(ByeReason.STALLED)
            if outbox.queued_bytes and not lagging.logged and now - lagging.since >= LAG_LOGGED_AFTER_S:
                lagging.logged = True
                self._observers.session_lagging(session, lagging)

    def _feed(self, session: Session, lagging: Lagging[Room], membership: Member, cursor: Cursor) -> None:
        room = membership.room
        if cursor.opened_event is not None:
            session.send(cursor.opened_event)
            cursor.opened_event = None
            cursor.client_knows = True
            session.note_opening(membership, cursor.seq)
        target = cursor.target_seq(room.head)
        if cursor.seq < target:
            outbox, seq = session.outbox, cursor.seq
            events = self._read_log(room, seq, target)
            if (
                session.lagging is not lagging
                or session.outbox is not outbox
                or outbox.closed
                or membership.cursor is not cursor
            ):
                return  # its connection was lost, or it has left the room, during the read
            data, last = self._encode_chunk(session, room, seq, target, events)
            if not outbox.offer(data):
                return
            cursor.seq = last
            self._count_delivered(
                session, lagging, room, sum(event.seq <= last for event in events), len(data)
            )
            lagging.signal_progress()
        if cursor.closed_event is not None and cursor.end_seq is not None:
            if cursor.seq >= cursor.end_seq:
                session.send(cursor.closed_event)
                self.drop_cursor(session, membership)
                self._on_closed_sent(session, membership)
        elif cursor.seq >= room.head:
            self._go_live(session, membership, cursor)

    def _note_read(self, error: str) -> None:
        """Report that reads of the log fail: once, until one succeeds, and when another error appears."""
        if error != self._read_error:
            self._read_error = error
            self._observers.feeding_failed(error)

    def _read_log(self, room: Room, after: int, target: int) -> list[MessageEvent]:
        """Return the next messages of a room. Raises `ValueError` if the answer would move a cursor back."""
        found = room.read_tail(after, target + 1, CHUNK_MESSAGES, newest=False)
        if found is None:
            found = self._log.read(
                room.id,
                room.name,
                after,
                target + 1,
                CHUNK_MESSAGES,
                newest=False,
                size=CHUNK_TEXT_BYTES,
                catching_up=True,
            )
            if self._read_error:
                self._note_read("")
        seq = after
        for event in found:
            if not seq < event.seq <= target:
                raise ValueError(f"{room.name}: the log has seq {event.seq} between {seq} and {target + 1}")
            seq = event.seq
        return found

    @staticmethod
    def _encode_chunk(
        session: Session, room: Room, after: int, target: int, events: Sequence[MessageEvent]
    ) -> tuple[bytes, int]:
        """Return the messages after `after` as at most `CHUNK_BYTES` (or one message), and the last seq.

        If messages can no longer be had (retention deleted them, or they are damaged), one `gap` event
        replaces them, in front of the first message that exists.
        """
        encoding = session.encoding
        if not events:
            return encoding.encode(Gap(room=room.name, first=after + 1, last=target)), target
        gap = b""
        if events[0].seq > after + 1:
            gap = encoding.encode(Gap(room=room.name, first=after + 1, last=events[0].seq - 1))
        count = len(events)
        for index in range(1, count):
            if events[index].seq != events[index - 1].seq + 1:  # deleted during the read
                count = index
                break
        chunk = encoding.encode_messages(events[:count])
        while len(chunk) > CHUNK_BYTES and count > 1:
            count //= 2
            chunk = encoding.encode_messages(events[:count])
        return gap + chunk, events[count - 1].seq

    def _count_delivered(
        self, session: Session, lagging: Lagging[Room], room: Room, messages: int, size: int
    ) -> None:
        lagging.messages_sent += messages
        session.messages_out += messages
        session.bytes_out += size
        stats = self._stats()
        stats.deliveries += messages
        stats.bytes_out += size
        stats.caught_up += messages
        stats.room_stats(room.name).deliveries += messages

    def _go_live(self, session: Session, membership: Member, cursor: Cursor) -> None:
        room = membership.room
        room.go_live(session)
        if room.presence_count != cursor.presence_count:  # it has missed presence events
            session.send(Presence(room=room.name, count=room.user_count))
        self.drop_cursor(session, membership)
