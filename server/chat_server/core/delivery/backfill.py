"""Feeds sessions that are behind from the log, each at its own pace, until they are live again.

The one mechanism for coming back, falling behind and filling gaps. A session is fed when its outbox is empty,
a chunk at a time, taken whole or not at all, and never past the room's head. It goes live in the same step in
which its cursor is found to be at the head, so there is no hole and no repeat between the two.

Knows cursors, the store and the fan-out. Must not know sockets. `step` may wait in `Store.read`, and runs in
one greenlet only; nothing else here MAY switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chat_protocol.dialects.table import ENCODERS
from chat_protocol.errors import ByeReason
from chat_protocol.events import Gap, Presence
from chat_server.core.delivery.room import CHUNK_BYTES
from chat_server.core.ports.store import StoreUnavailable
from chat_server.core.sessions.cursor import Cursor, LaggingRooms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chat_protocol.events import MessageEvent
    from chat_server.core.base.interval_stats import IntervalStats
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.store import Store
    from chat_server.core.sessions.session import Session

CHUNK_MESSAGES: Final = 128
CHUNK_TEXT_BYTES: Final = 32 * 1024
"""What is read for a chunk at most; with the rest of each frame it mostly fits into `CHUNK_BYTES`. In memory
messages are several times as long as on the wire, so more would show in the peak."""

LAG_LOGGED_AFTER_S: Final = 1.0
"""Seconds behind after which the log tells of it: anybody may stumble."""

CHECK_INTERVAL_S: Final = 1.0
"""Seconds between two looks at those who are behind."""


class Backfill:
    """All sessions that are behind."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        stats: Callable[[], IntervalStats],
        *,
        stalled_timeout: float,
    ) -> None:
        self.lagging_sessions: dict[Session, None] = {}  # connected ones
        self.wake: Callable[[], None] = lambda: None
        self.on_lagging: Callable[[Session, LaggingRooms], None] = lambda _session, _lagging: None
        self.on_caught_up: Callable[[Session, LaggingRooms], None] = lambda _session, _lagging: None
        self.on_close_delivered: Callable[[Session, Room], None] = lambda _session, _room: None
        self._ready: dict[Session, None] = {}
        self._store = store
        self._clock = clock
        self._stats = stats
        self._stalled_timeout = stalled_timeout
        self._checked_at = clock.monotonic()

    @property
    def idle(self) -> bool:
        """Tell whether nobody can be fed now."""
        return not self._ready

    def fall_behind(self, session: Session, room: Room, seq: int, own_seq: int = 0) -> Cursor:
        """Let a session be behind in a room, everything after `seq` missing; return its cursor."""
        lagging = session.lagging
        if lagging is None:
            session.lagging = lagging = LaggingRooms(self._clock.monotonic())
        lagging.cursors[room] = cursor = Cursor(seq, room.presence_count, own_seq)
        if not session.held:
            self.lagging_sessions[session] = None
        return cursor

    def mark_ready(self, session: Session) -> None:
        """Feed a session soon: its outbox is empty, or its connection has ended."""
        if session.lagging is not None and session not in self._ready:
            self._ready[session] = None
            self.wake()

    def start_resumed(self, session: Session) -> None:
        """Let a session that has come back go live where it misses nothing, and feed it where it does."""
        if session.lagging is None:
            return
        for room, cursor in list(session.lagging.cursors.items()):
            if cursor.closed_event is None and cursor.seq == room.head:
                self._go_live(session, room, cursor)
        self.mark_ready(session)

    def stop_feeding(self, session: Session) -> None:
        """Feed a session no more: it has no connection."""
        self.lagging_sessions.pop(session, None)
        self._ready.pop(session, None)

    def drop_cursor(self, session: Session, room: Room) -> None:
        """End being behind in a room."""
        lagging = session.lagging
        if lagging is None or lagging.cursors.pop(room, None) is None:
            return
        if not lagging.cursors:
            session.lagging = None
            self._ready.pop(session, None)
            if self.lagging_sessions.pop(session, 0) is None and lagging.logged:
                self.on_caught_up(session, lagging)
        lagging.signal_progress()

    def step(self) -> None:
        """Give the next session that is ready one chunk. May wait."""
        session = next(iter(self._ready))
        del self._ready[session]
        lagging, outbox = session.lagging, session.outbox
        if lagging is None:
            return
        if outbox.closed:
            lagging.signal_progress()  # whoever waits for progress waits in vain
            return
        if outbox.queued_bytes:
            return  # its drain makes it ready again
        room, cursor = lagging.next_room()
        try:
            self._feed_room(session, lagging, room, cursor)
        except StoreUnavailable:
            return  # `tick` tries again
        if session.lagging is lagging and not session.outbox.queued_bytes:
            self._ready[session] = None

    def tick(self) -> None:
        """Look at those who are behind: tell of them, end the stalled, try again where the store failed."""
        now = self._clock.monotonic()
        if now - self._checked_at < CHECK_INTERVAL_S:
            return
        self._checked_at = now
        for session in list(self.lagging_sessions):
            lagging, outbox = session.lagging, session.outbox
            if lagging is None:
                continue
            if not outbox.queued_bytes:
                self.mark_ready(session)
            elif now - outbox.progress_at > self._stalled_timeout:
                session.link.close_with_bye(ByeReason.STALLED)
            if outbox.queued_bytes and not lagging.logged and now - lagging.since >= LAG_LOGGED_AFTER_S:
                lagging.logged = True
                self.on_lagging(session, lagging)

    def _feed_room(self, session: Session, lagging: LaggingRooms, room: Room, cursor: Cursor) -> None:
        if cursor.opened_event is not None:
            session.send(cursor.opened_event)
            cursor.opened_event = None
            cursor.client_knows = True
            session.note_unconfirmed(room, cursor.seq)
        target = cursor.target_seq(room)
        if cursor.seq < target:
            outbox, seq = session.outbox, cursor.seq
            events = self._read_log(room, seq, target)
            if (
                session.lagging is not lagging
                or session.outbox is not outbox
                or outbox.closed
                or lagging.cursors.get(room) is not cursor
            ):
                return  # it was cut, or has left the room, meanwhile
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
                self.drop_cursor(session, room)
                self.on_close_delivered(session, room)
        elif cursor.seq >= room.head:
            self._go_live(session, room, cursor)

    def _read_log(self, room: Room, after: int, target: int) -> list[MessageEvent]:
        found = room.read_tail(after, target + 1, CHUNK_MESSAGES, newest=False)
        if found is None:
            found = self._store.read(
                room.record, after, target + 1, CHUNK_MESSAGES, newest=False, size=CHUNK_TEXT_BYTES
            )
        return found

    @staticmethod
    def _encode_chunk(
        session: Session, room: Room, after: int, target: int, events: Sequence[MessageEvent]
    ) -> tuple[bytes, int]:
        """Return what follows `after`, as bytes of at most `CHUNK_BYTES` (or one message), and the last seq.

        What is no longer kept is told as a gap: all of it in front of the first message that is.
        """
        encoder = ENCODERS[session.dialect]
        if not events:
            return encoder.encode(Gap(room=room.name, first=after + 1, last=target)), target
        gap = b""
        if events[0].seq > after + 1:
            gap = encoder.encode(Gap(room=room.name, first=after + 1, last=events[0].seq - 1))
        count = len(events)
        for index in range(1, count):
            if events[index].seq != events[index - 1].seq + 1:  # trimmed while it was read
                count = index
                break
        chunk = encoder.encode_messages(events[:count])
        while len(chunk) > CHUNK_BYTES and count > 1:
            count //= 2
            chunk = encoder.encode_messages(events[:count])
        return gap + chunk, events[count - 1].seq

    def _count_delivered(
        self, session: Session, lagging: LaggingRooms, room: Room, messages: int, size: int
    ) -> None:
        lagging.messages_sent += messages
        session.messages_out += messages
        session.bytes_out += size
        stats = self._stats()
        stats.deliveries += messages
        stats.bytes_out += size
        stats.caught_up += messages
        stats.room_stats(room.name).deliveries += messages

    def _go_live(self, session: Session, room: Room, cursor: Cursor) -> None:
        room.go_live(session)
        if (
            room.presence_count != cursor.presence_count
        ):  # news of presence were dropped: the count makes up for them
            session.send(Presence(room=room.name, count=len(room.members)))
        self.drop_cursor(session, room)
