"""A room: its members by dialect, its head, and the tail of what was said last.

`publish` is the hot path's last step in the core: a batch becomes one chunk a dialect, and one call of the
fan-out a chunk. MUST NOT switch greenlets: head, members and outboxes change together.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from chat_protocol.codec import DIALECTS
from chat_protocol.events import MessageEvent
from chat_server.core.ports import FanOut, Outbox
from chat_server.core.records import RoomRecord
from chat_server.core.session import ENCODERS, Session

TAIL_MESSAGES: Final = 256
TAIL_BYTES: Final = 64 * 1024
"""How much of what was said last a room keeps in memory; more is read from the store."""

_OVERHEAD: Final = 300  # bytes of memory that a kept message takes beside its text


class Room:
    """A public room, or the conversation of a pair."""

    __slots__ = (
        "_fan_out",
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
        "shown_at",
        "tail",
    )

    def __init__(self, record: RoomRecord, fan_out: FanOut) -> None:
        self.record = record
        self.name = record.name
        self.key = record.key
        self.head = record.seq  # the last seq delivered; the store may be ahead by a batch
        self.members: dict[Session, tuple[int, int]] = {}  # -> head and bytes sent when it joined
        self.opener: Session | None = None  # of an open conversation
        self.tail: deque[MessageEvent] = deque()
        self.joined: dict[str, None] = {}  # names to be told of in the next presence
        self.left: dict[str, None] = {}
        self.shown_at = 0.0
        self._fan_out = fan_out
        self._feeds: tuple[dict[Outbox, None], ...] = tuple({} for _ in DIALECTS)
        self._tail_bytes = 0
        self._sent = [0] * len(DIALECTS)  # bytes sent to each member of a dialect, ever

    @property
    def is_conversation(self) -> bool:
        """Tell whether only two identities may enter."""
        return self.record.pair is not None

    def add(self, session: Session) -> None:
        """Make the session a member: it gets what comes after `head`."""
        self.members[session] = (self.head, self._sent[session.dialect])
        self._feeds[session.dialect][session.outbox] = None
        session.rooms[self.key] = self

    def remove(self, session: Session) -> None:
        """End the membership."""
        messages, size = self.delivered_to(session)
        session.messages_out += messages
        session.bytes_out += size
        del self.members[session]
        del self._feeds[session.dialect][session.outbox]
        del session.rooms[self.key]
        if not self.members:
            self.tail.clear()
            self._tail_bytes = 0

    def delivered_to(self, session: Session) -> tuple[int, int]:
        """Return the messages and bytes that a member got: all get the same, so nobody counts for each."""
        head, sent = self.members[session]
        return self.head - head, self._sent[session.dialect] - sent

    def publish(self, events: Sequence[MessageEvent]) -> tuple[int, int]:
        """Deliver a batch in the order of its seqs; return the deliveries and their bytes."""
        self.head = events[-1].seq
        sent = 0
        deliveries = 0
        for dialect, feed in enumerate(self._feeds):
            if feed:
                chunk = ENCODERS[dialect].encode_messages(events)
                self._fan_out(feed, chunk)
                self._sent[dialect] += len(chunk)
                sent += len(chunk) * len(feed)
                deliveries += len(feed)
        if deliveries:
            self._keep(events)
        return deliveries * len(events), sent

    def broadcast(self, encoded: Sequence[bytes]) -> None:
        """Send every member the bytes of its dialect (presence, news that are not in the log)."""
        for feed, chunk in zip(self._feeds, encoded, strict=True):
            if feed and chunk:
                self._fan_out(feed, chunk)

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

    def _keep(self, events: Sequence[MessageEvent]) -> None:
        tail = self.tail
        tail.extend(events)
        size = self._tail_bytes
        for event in events:
            size += len(event.message) + _OVERHEAD
        while len(tail) > TAIL_MESSAGES or size > TAIL_BYTES:
            size -= len(tail.popleft().message) + _OVERHEAD
        self._tail_bytes = size
