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
from chat_server.core.sessions.cursor import Behind, Cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chat_protocol.events import MessageEvent
    from chat_server.core.base.interval_stats import Stats
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.store import Store
    from chat_server.core.sessions.session import Session

CHUNK_MESSAGES: Final = 128
CHUNK_TEXT: Final = 32 * 1024
"""What is read for a chunk at most; with the rest of each frame it mostly fits into `CHUNK_BYTES`. In memory
messages are several times as long as on the wire, so more would show in the peak."""

WORTH_A_LINE: Final = 1.0
"""Seconds behind after which the log tells of it: anybody may stumble."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at those who are behind."""


class Feeder:
    """All sessions that are behind."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        stats: Callable[[], Stats],
        *,
        stalled_timeout: float,
    ) -> None:
        self.behind: dict[Session, None] = {}  # connected ones
        self.wake: Callable[[], None] = lambda: None
        self.on_lagging: Callable[[Session, Behind], None] = lambda _session, _behind: None
        self.on_caught_up: Callable[[Session, Behind], None] = lambda _session, _behind: None
        self.on_told_closed: Callable[[Session, Room], None] = lambda _session, _room: None
        self._ready: dict[Session, None] = {}
        self._store = store
        self._clock = clock
        self._stats = stats
        self._stalled_timeout = stalled_timeout
        self._looked_at = clock.monotonic()

    @property
    def idle(self) -> bool:
        """Tell whether nobody can be fed now."""
        return not self._ready

    def cursor(self, session: Session, room: Room, seq: int, own: int = 0) -> Cursor:
        """Let a session be behind in a room, everything after `seq` missing; return its cursor."""
        behind = session.behind
        if behind is None:
            session.behind = behind = Behind(self._clock.monotonic())
        behind.cursors[room] = cursor = Cursor(seq, room.shown, own)
        if not session.away:
            self.behind[session] = None
        return cursor

    def ready(self, session: Session) -> None:
        """Feed a session soon: its outbox is empty, or its connection has ended."""
        if session.behind is not None and session not in self._ready:
            self._ready[session] = None
            self.wake()

    def start(self, session: Session) -> None:
        """Let a session that has come back go live where it misses nothing, and feed it where it does."""
        if session.behind is None:
            return
        for room, cursor in list(session.behind.cursors.items()):
            if cursor.last is None and cursor.seq == room.head:
                self._go_live(session, room, cursor)
        self.ready(session)

    def forget(self, session: Session) -> None:
        """Feed a session no more: it has no connection."""
        self.behind.pop(session, None)
        self._ready.pop(session, None)

    def drop(self, session: Session, room: Room) -> None:
        """End being behind in a room."""
        behind = session.behind
        if behind is None or behind.cursors.pop(room, None) is None:
            return
        if not behind.cursors:
            session.behind = None
            self._ready.pop(session, None)
            if self.behind.pop(session, 0) is None and behind.told:
                self.on_caught_up(session, behind)
        behind.moved()

    def step(self) -> None:
        """Give the next session that is ready one chunk. May wait."""
        session = next(iter(self._ready))
        del self._ready[session]
        behind, outbox = session.behind, session.outbox
        if behind is None:
            return
        if outbox.shut:
            behind.moved()  # whoever waits for progress waits in vain
            return
        if outbox.waiting:
            return  # its drain makes it ready again
        room, cursor = behind.next()
        try:
            self._feed(session, behind, room, cursor)
        except StoreUnavailable:
            return  # `tick` tries again
        if session.behind is behind and not session.outbox.waiting:
            self._ready[session] = None

    def tick(self) -> None:
        """Look at those who are behind: tell of them, end the stalled, try again where the store failed."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        for session in list(self.behind):
            behind, outbox = session.behind, session.outbox
            if behind is None:
                continue
            if not outbox.waiting:
                self.ready(session)
            elif now - outbox.moved_at > self._stalled_timeout:
                session.link.end(ByeReason.STALLED)
            if outbox.waiting and not behind.told and now - behind.since >= WORTH_A_LINE:
                behind.told = True
                self.on_lagging(session, behind)

    def _feed(self, session: Session, behind: Behind, room: Room, cursor: Cursor) -> None:
        if cursor.first is not None:
            session.send(cursor.first)
            cursor.first = None
            cursor.known = True
            session.told_of(room, cursor.seq)
        target = cursor.target(room)
        if cursor.seq < target:
            outbox, seq = session.outbox, cursor.seq
            events = self._read(room, seq, target)
            if (
                session.behind is not behind
                or session.outbox is not outbox
                or outbox.shut
                or behind.cursors.get(room) is not cursor
            ):
                return  # it was cut, or has left the room, meanwhile
            data, last = self._chunk(session, room, seq, target, events)
            if not outbox.offer(data):
                return
            cursor.seq = last
            self._count(session, behind, room, sum(event.seq <= last for event in events), len(data))
            behind.moved()
        if cursor.last is not None and cursor.until is not None:
            if cursor.seq >= cursor.until:
                session.send(cursor.last)
                self.drop(session, room)
                self.on_told_closed(session, room)
        elif cursor.seq >= room.head:
            self._go_live(session, room, cursor)

    def _read(self, room: Room, after: int, target: int) -> list[MessageEvent]:
        found = room.recall(after, target + 1, CHUNK_MESSAGES, newest=False)
        if found is None:
            found = self._store.read(
                room.record, after, target + 1, CHUNK_MESSAGES, newest=False, size=CHUNK_TEXT
            )
        return found

    @staticmethod
    def _chunk(
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

    def _count(self, session: Session, behind: Behind, room: Room, messages: int, size: int) -> None:
        behind.messages += messages
        session.messages_out += messages
        session.bytes_out += size
        stats = self._stats()
        stats.deliveries += messages
        stats.bytes_out += size
        stats.caught_up += messages
        stats.room(room.name).deliveries += messages

    def _go_live(self, session: Session, room: Room, cursor: Cursor) -> None:
        room.go_live(session)
        if room.shown != cursor.shown:  # news of presence were dropped: the count makes up for them
            session.send(Presence(room=room.name, count=len(room.members)))
        self.drop(session, room)
