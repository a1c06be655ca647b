"""A room: its members by encoding, its head, and its tail (the newest messages, in memory).

`publish` is the last step of the core's hot path: it encodes a batch once per dialect, frames it once per
encoding, and calls the fan-out once per chunk. MUST NOT switch greenlets: head, members and outboxes change
together.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from chat_protocol.dialects.base import MAX_ENCODINGS
from chat_server.core.ports.registry import NewRoom, StoredRoom
from chat_server.core.sessions.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chat_protocol.dialects.base import Encoding
    from chat_protocol.events import Event, MessageEvent
    from chat_server.core.delivery.backfill import Backfill
    from chat_server.core.ports.link import FanOut, Outbox

CHUNK_BYTES: Final = 64 * 1024
"""Bytes that an outbox is offered at once, unless a single message is longer. An outbox takes a chunk whole
or not at all, so the memory of a slow reader is bounded however large a batch is."""

TAIL_MESSAGES: Final = 256
TAIL_BYTES: Final = 64 * 1024
"""Bounds of a room's tail; older messages are read from the store."""

_MESSAGE_OVERHEAD_BYTES: Final = 300  # memory of a message in the tail besides its text


class Feed:
    """The live members of a room that have one encoding, and the bytes sent to each of them so far."""

    __slots__ = ("sent_bytes", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Outbox, Session] = {}
        self.sent_bytes = 0


class Room:
    """A public room, or the conversation of two identities.

    `id` is 0 until it is stored. A conversation has the `pair` of its identities, the lower number first, and
    a provisional `name` and `key` (the folded name) until it is stored.
    """

    __slots__ = (
        "_backfill",
        "_fan_out",
        "_feeds",
        "_tail_bytes",
        "head",
        "id",
        "is_queued",
        "joined_names",
        "key",
        "left_names",
        "members",
        "name",
        "opened_seq",
        "opener",
        "pair",
        "presence_count",
        "presence_sent_at",
        "tail",
    )

    def __init__(self, row: NewRoom | StoredRoom, fan_out: FanOut, backfill: Backfill) -> None:
        self.name = row.name
        self.key = row.key
        self.pair = row.pair
        self.id, self.head = (row.id, row.head) if isinstance(row, StoredRoom) else (0, 0)
        # `head`: the last seq delivered; the log may be ahead by a batch
        self.is_queued = False  # to be stored with the next batch, or the current one
        # -> head and bytes sent when it went live; None while it is lagging or held
        self.members: dict[Session, tuple[int, int] | None] = {}
        self.opener: Session | None = None  # of an open conversation: the session that counts it
        self.opened_seq = 0  # head when the conversation was opened
        self.tail: deque[MessageEvent] = deque()
        self.joined_names: dict[str, None] = {}  # names for the next presence event
        self.left_names: dict[str, None] = {}
        self.presence_count = 0  # presence events sent so far
        self.presence_sent_at = 0.0
        self._fan_out = fan_out
        self._backfill = backfill
        self._feeds: dict[Encoding, Feed] = {}  # made for the first member; those of one base side by side
        self._tail_bytes = 0

    def __repr__(self) -> str:
        live = sum(len(feed.sessions) for feed in self._feeds.values())
        return f"<Room {self.name} head {self.head}, {live} of {len(self.members)} members live>"

    @property
    def is_conversation(self) -> bool:
        """Return whether it is the conversation of two identities."""
        return self.pair is not None

    def add_member(self, session: Session) -> None:
        """Add a session as a live member: it gets the messages after `head`."""
        session.rooms[self.key] = self
        self.go_live(session)

    def add_lagging_member(self, session: Session) -> None:
        """Add a session as a member without the live feed: it has a cursor, or is held."""
        session.rooms[self.key] = self
        self.members[session] = None

    def go_live(self, session: Session) -> None:
        """Add a member to the live feed: it gets the messages after `head`."""
        feed = self._feeds.get(session.encoding) or self._add_feed(session.encoding)
        self.members[session] = (self.head, feed.sent_bytes)
        feed.sessions[session.outbox] = session

    def leave_feed(self, session: Session, seq: int) -> None:
        """Remove a member from the live feed, of which it has received everything up to `seq`."""
        messages, size = self._delivered_live(session, seq)
        session.messages_out += messages
        session.bytes_out += size
        if self.members[session] is not None:
            del self._feeds[session.encoding].sessions[session.outbox]
            self.members[session] = None

    def remove_member(self, session: Session) -> None:
        """Remove a member."""
        self.leave_feed(session, self.head)
        del self.members[session]
        del session.rooms[self.key]
        if not self.members:
            self.tail.clear()
            self._tail_bytes = 0

    def delivered_to(self, session: Session) -> tuple[int, int]:
        """Return the messages and bytes that a live member has received since it went live."""
        return self._delivered_live(session, self.head)

    def publish(self, events: Sequence[MessageEvent]) -> tuple[int, int]:
        """Deliver a batch, ordered by seq; return the number of deliveries and their bytes."""
        self.head = events[-1].seq
        sent = 0
        deliveries = 0
        base = None
        encoded = b""
        for encoding, feed in self._feeds.items():
            sessions = feed.sessions
            if sessions:
                if encoding.base is not base:
                    base = encoding.base
                    encoded = base.encode_messages(events)
                if len(encoded) > CHUNK_BYTES and len(events) > 1:
                    more, size = self._publish_halves(encoding, feed, events, events)
                    deliveries += more
                    sent += size
                    continue
                chunk = encoded if encoding.frame is None else encoding.frame(encoded)
                overflowed = self._fan_out(sessions, chunk)
                if overflowed:
                    self._move_to_backfill(feed, overflowed, events, events)
                feed.sent_bytes += len(chunk)
                sent += len(chunk) * len(sessions)
                deliveries += len(sessions) * len(events)
        if self.members:
            self._append_tail(events)
        return deliveries, sent

    def broadcast(self, event: Event) -> None:
        """Send every live member an event that is not in the log (presence).

        Members whose outbox is full miss the event; they get the current count when they are live again.
        """
        for encoding, feed in self._feeds.items():
            if feed.sessions:
                chunk = encoding.encode(event)
                overflowed = self._fan_out(feed.sessions, chunk) if chunk else ()
                if overflowed:
                    self._move_to_backfill(feed, overflowed, (), ())
        self.presence_count += 1

    def read_tail(self, after: int, before: int, limit: int, *, newest: bool) -> list[MessageEvent] | None:
        """Return what `Log.read` would, or None if the tail does not reach far enough back."""
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

    def trim_tail(self, seq: int) -> None:
        """Drop messages up to `seq`, which the store has deleted."""
        tail = self.tail
        while tail and tail[0].seq <= seq:
            self._tail_bytes -= len(tail.popleft().message) + _MESSAGE_OVERHEAD_BYTES

    def _add_feed(self, encoding: Encoding) -> Feed:
        """Add the feed of an encoding beside those of its base, which then encodes a batch only once."""
        assert len(self._feeds) < MAX_ENCODINGS
        self._feeds[encoding] = Feed()
        bases = {each.base: None for each in self._feeds}
        self._feeds = {
            each: feed for base in bases for each, feed in self._feeds.items() if each.base is base
        }
        return self._feeds[encoding]

    def _publish_halves(
        self, encoding: Encoding, feed: Feed, events: Sequence[MessageEvent], batch: Sequence[MessageEvent]
    ) -> tuple[int, int]:
        """Deliver a part of a batch that is too long for one chunk."""
        encoded = encoding.base.encode_messages(events)
        if len(encoded) > CHUNK_BYTES and len(events) > 1:
            half = len(events) // 2
            deliveries, sent = self._publish_halves(encoding, feed, events[:half], batch)
            more, size = self._publish_halves(encoding, feed, events[half:], batch)
            return deliveries + more, sent + size
        chunk = encoded if encoding.frame is None else encoding.frame(encoded)
        overflowed = self._fan_out(feed.sessions, chunk)
        if overflowed:
            self._move_to_backfill(feed, overflowed, events, batch)
        feed.sent_bytes += len(chunk)
        return len(feed.sessions) * len(events), len(chunk) * len(feed.sessions)

    def _move_to_backfill(
        self,
        feed: Feed,
        overflowed: Iterable[Outbox],
        events: Sequence[MessageEvent],
        batch: Sequence[MessageEvent],
    ) -> None:
        """Take members whose outbox did not take `events`, a part of `batch`, off the feed; backfill them."""
        seq = events[0].seq - 1 if events else self.head
        for outbox in overflowed:
            session = feed.sessions[outbox]
            own_seq = max((event.seq for event in batch if event.sender == session.id), default=0)
            self.leave_feed(session, seq)
            self._backfill.fall_behind(session, self, seq, own_seq)

    def _delivered_live(self, session: Session, seq: int) -> tuple[int, int]:
        live_since = self.members[session]
        if live_since is None:
            return 0, 0
        head, sent = live_since
        return seq - head, self._feeds[session.encoding].sent_bytes - sent

    def _append_tail(self, events: Sequence[MessageEvent]) -> None:
        tail = self.tail
        tail.extend(events)
        size = self._tail_bytes
        for event in events:
            size += len(event.message) + _MESSAGE_OVERHEAD_BYTES
        while len(tail) > TAIL_MESSAGES or size > TAIL_BYTES:
            size -= len(tail.popleft().message) + _MESSAGE_OVERHEAD_BYTES
        self._tail_bytes = size
