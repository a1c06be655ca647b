"""A room: its members by dialect, its head, and the tail of what was said last.

`publish` is the hot path's last step in the core: a batch becomes one chunk a dialect, and one call of the
fan-out a chunk. MUST NOT switch greenlets: head, members and outboxes change together.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from chat_protocol.dialects.base import DIALECT_NAMES
from chat_protocol.dialects.table import ENCODERS
from chat_server.core.sessions.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chat_protocol.events import MessageEvent
    from chat_server.core.delivery.backfill import Feeder
    from chat_server.core.ports.link import FanOut, Outbox
    from chat_server.core.ports.records import RoomRecord

CHUNK_BYTES: Final = 64 * 1024
"""Bytes that go to an outbox in one piece at most, unless a single message has more: a piece is taken whole
or not at all, so a slow reader's memory is bounded however large a batch is."""

TAIL_MESSAGES: Final = 256
TAIL_BYTES: Final = 64 * 1024
"""How much of what was said last a room keeps in memory; more is read from the store."""

_OVERHEAD: Final = 300  # bytes of memory that a kept message takes beside its text


class Room:
    """A public room, or the conversation of a pair."""

    __slots__ = (
        "_fan_out",
        "_feeder",
        "_feeds",
        "_sent",
        "_tail_bytes",
        "head",
        "joined",
        "key",
        "left",
        "members",
        "name",
        "opener",
        "record",
        "shown",
        "shown_at",
        "since",
        "tail",
    )

    def __init__(self, record: RoomRecord, fan_out: FanOut, feeder: Feeder) -> None:
        self.record = record
        self.name = record.name
        self.key = record.key
        self.head = record.seq  # the last seq delivered; the store may be ahead by a batch
        # -> head and bytes sent when it went live; None while it is behind, or away
        self.members: dict[Session, tuple[int, int] | None] = {}
        self.opener: Session | None = None  # of an open conversation
        self.since = 0  # head when the conversation was opened
        self.tail: deque[MessageEvent] = deque()
        self.joined: dict[str, None] = {}  # names to be told of in the next presence
        self.left: dict[str, None] = {}
        self.shown = 0  # presences told so far
        self.shown_at = 0.0
        self._fan_out = fan_out
        self._feeder = feeder
        self._feeds: tuple[dict[Outbox, Session], ...] = tuple({} for _ in DIALECT_NAMES)
        self._tail_bytes = 0
        self._sent = [0] * len(DIALECT_NAMES)  # bytes sent to each live member of a dialect, ever

    @property
    def is_conversation(self) -> bool:
        """Tell whether only two identities may enter."""
        return self.record.pair is not None

    def add(self, session: Session) -> None:
        """Make the session a member: it gets what comes after `head`."""
        session.rooms[self.key] = self
        self.go_live(session)

    def add_behind(self, session: Session) -> None:
        """Make the session a member that gets nothing yet: it has a cursor, or no connection."""
        session.rooms[self.key] = self
        self.members[session] = None

    def go_live(self, session: Session) -> None:
        """Let a member get what comes after `head`."""
        self.members[session] = (self.head, self._sent[session.dialect])
        self._feeds[session.dialect][session.outbox] = session

    def cut(self, session: Session, seq: int) -> None:
        """Take a member out of the live feed, of which it has got everything up to `seq`."""
        messages, size = self._delivered(session, seq)
        session.messages_out += messages
        session.bytes_out += size
        if self.members[session] is not None:
            del self._feeds[session.dialect][session.outbox]
            self.members[session] = None

    def remove(self, session: Session) -> None:
        """End the membership."""
        self.cut(session, self.head)
        del self.members[session]
        del session.rooms[self.key]
        if not self.members:
            self.tail.clear()
            self._tail_bytes = 0

    def delivered_to(self, session: Session) -> tuple[int, int]:
        """Return the messages and bytes that a live member got: all get the same, so nobody counts each."""
        return self._delivered(session, self.head)

    def publish(self, events: Sequence[MessageEvent]) -> tuple[int, int]:
        """Deliver a batch in the order of its seqs; return the deliveries and their bytes."""
        self.head = events[-1].seq
        sent = 0
        deliveries = 0
        for dialect, feed in enumerate(self._feeds):
            if feed:
                chunk = ENCODERS[dialect].encode_messages(events)
                if len(chunk) > CHUNK_BYTES and len(events) > 1:
                    more, size = self._publish_halves(dialect, events, events)
                    deliveries += more
                    sent += size
                    continue
                refused = self._fan_out(feed, chunk)
                if refused:
                    self._fall_behind(dialect, refused, events, events)
                self._sent[dialect] += len(chunk)
                sent += len(chunk) * len(feed)
                deliveries += len(feed) * len(events)
        if self.members:
            self._keep(events)
        return deliveries, sent

    def broadcast(self, encoded: Sequence[bytes]) -> None:
        """Send every live member the bytes of its dialect (presence, news that are not in the log).

        Who does not take them has missed them, and is told the count when it is live again.
        """
        for dialect, chunk in enumerate(encoded):
            feed = self._feeds[dialect]
            if feed and chunk:
                refused = self._fan_out(feed, chunk)
                if refused:
                    self._fall_behind(dialect, refused, (), ())
        self.shown += 1

    def dialects(self) -> list[bool]:
        """Tell which dialects have members here."""
        return [bool(feed) for feed in self._feeds]

    def recall(self, after: int, before: int, limit: int, *, newest: bool) -> list[MessageEvent] | None:
        """Answer from the tail what `Store.read` would, or None where the tail does not reach far enough."""
        tail = self.tail
        first = tail[0].seq if tail else self.head + 1
        if newest:
            wanted = max(after + 1, before - limit, 1)
            last = before
        else:
            wanted = after + 1
            last = min(before, wanted + limit)
        if wanted < first:
            return None
        return [event for event in tail if wanted <= event.seq < last]

    def forget_before(self, seq: int) -> None:
        """Drop what the store no longer keeps: everything up to `seq`."""
        tail = self.tail
        while tail and tail[0].seq <= seq:
            self._tail_bytes -= len(tail.popleft().message) + _OVERHEAD

    def _publish_halves(
        self, dialect: int, events: Sequence[MessageEvent], batch: Sequence[MessageEvent]
    ) -> tuple[int, int]:
        """Deliver a part of a batch that is too long for one piece."""
        feed = self._feeds[dialect]
        chunk = ENCODERS[dialect].encode_messages(events)
        if len(chunk) > CHUNK_BYTES and len(events) > 1:
            half = len(events) // 2
            deliveries, sent = self._publish_halves(dialect, events[:half], batch)
            more, size = self._publish_halves(dialect, events[half:], batch)
            return deliveries + more, sent + size
        refused = self._fan_out(feed, chunk)
        if refused:
            self._fall_behind(dialect, refused, events, batch)
        self._sent[dialect] += len(chunk)
        return len(feed) * len(events), len(chunk) * len(feed)

    def _fall_behind(
        self,
        dialect: int,
        refused: Iterable[Outbox],
        events: Sequence[MessageEvent],
        batch: Sequence[MessageEvent],
    ) -> None:
        """Cut the feed of those who would not take `events`, a part of `batch`: the log will feed them."""
        feed = self._feeds[dialect]
        seq = events[0].seq - 1 if events else self.head
        for outbox in refused:
            session = feed[outbox]
            own = max((event.seq for event in batch if event.sender == session.id), default=0)
            self.cut(session, seq)
            self._feeder.cursor(session, self, seq, own)

    def _delivered(self, session: Session, seq: int) -> tuple[int, int]:
        mark = self.members[session]
        if mark is None:
            return 0, 0
        head, sent = mark
        return seq - head, self._sent[session.dialect] - sent

    def _keep(self, events: Sequence[MessageEvent]) -> None:
        tail = self.tail
        tail.extend(events)
        size = self._tail_bytes
        for event in events:
            size += len(event.message) + _OVERHEAD
        while len(tail) > TAIL_MESSAGES or size > TAIL_BYTES:
            size -= len(tail.popleft().message) + _OVERHEAD
        self._tail_bytes = size
