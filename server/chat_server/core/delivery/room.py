"""A room: its members by encoding, its head, and its tail (the newest messages, in memory).

`publish` is the last step of the core's hot path: it encodes a batch once per dialect, frames it once per
encoding, and calls the fan-out once per chunk. MUST NOT switch greenlets: head, members and outboxes change
together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from chat_protocol.dialects.base import MAX_ENCODINGS
from chat_server.core.delivery.tails import MESSAGE_OVERHEAD_BYTES, NON_ASCII_BYTES, Tails, message_bytes
from chat_server.core.identity.identity import Identity
from chat_server.core.ports.registry import NewRoom, StoredRoom
from chat_server.core.sessions.membership import Membership, MembershipEvent, MembershipState
from chat_server.core.sessions.session import BaseSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chat_protocol.dialects.base import Encoding
    from chat_protocol.events import Event, MessageEvent
    from chat_server.core.ports.link import FanOut, Outbox
    from chat_server.core.sessions.cursor import Cursor

CHUNK_BYTES: Final = 64 * 1024
"""Bytes that an outbox is offered at once, unless a single message is longer. An outbox takes a chunk whole
or not at all, so the memory of a slow reader is bounded however large a batch is."""

TAIL_MESSAGES: Final = 256
TAIL_BYTES: Final = 256 * 1024
"""Bounds of a room's tail; older messages are read from the store. `tails.py` bounds those of all rooms."""

# Of rooms that have none; MUST stay empty:
_NO_TAIL: Final[deque[MessageEvent]] = deque()
_NO_NAMES: Final[dict[str, None]] = {}

BOTH: Final = -1  # of `Room.spoken_by`: both users of a conversation have sent a message

_LIVE: Final = MembershipState.LIVE
_OUT: Final = MembershipState.OUT


class Feed:
    """The live members of a room that have one encoding, and the bytes sent to each of them so far."""

    __slots__ = ("sent_bytes", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Outbox, Session] = {}
        self.sent_bytes = 0


class Room:
    """A public room, or the conversation of two identities.

    `id` is 0 until it is stored. A conversation has the `pair` of its identities, the lower number first, and
    a provisional `name` and `key` (the folded name) until it is stored. A public room `is_ending` when the
    operator deletes it: it takes no more messages and members, and then none are left.
    """

    __slots__ = (
        "_fan_out",
        "_feeds",
        "_on_overflow",
        "_tail_bytes",
        "_tails",
        "head",
        "id",
        "is_ending",
        "is_queued",
        "is_writable",
        "joined_names",
        "key",
        "left_names",
        "made_by",
        "members",
        "name",
        "pair",
        "presence_count",
        "presence_sent_at",
        "spoken_by",
        "tail",
        "trimmed",
        "user_count",
    )

    def __init__(
        self,
        row: NewRoom | StoredRoom,
        fan_out: FanOut,
        on_overflow: OnOverflow,
        tails: Tails | None = None,
    ) -> None:
        self.name = row.name
        self.key = row.key
        self.pair = row.pair
        # `head`: the last seq delivered; the log may be ahead by a batch. `trimmed`: the last one deleted
        self.id = self.head = self.trimmed = 0
        self.spoken_by = BOTH if row.pair is None else 0  # the one identity that has sent a message, or BOTH
        if isinstance(row, StoredRoom):
            self.id, self.head, self.trimmed = row.id, row.head, row.trimmed
            self.spoken_by = BOTH  # as far as one knows
        self.is_queued = False  # to be stored with the next batch, or the current one
        self.is_writable = self.id != 0  # whether a message may be queued at once: stored, and not ending
        self.is_ending = False
        self.made_by = ""  # until it is stored: the address key that its making was charged to
        self.members: dict[Session, Membership[Room]] = {}
        self.user_count = 0  # identities among the members
        self.tail = _NO_TAIL
        # Names for the next presence event:
        self.joined_names: dict[str, None] = {} if row.pair is None else _NO_NAMES
        self.left_names: dict[str, None] = {} if row.pair is None else _NO_NAMES
        self.presence_count = 0  # presence events sent so far
        self.presence_sent_at = 0.0
        self._fan_out = fan_out.offer
        self._on_overflow = on_overflow
        self._tails = tails or Tails()
        self._feeds: dict[Encoding, Feed] = {}  # made for the first member; those of one base side by side
        self._tail_bytes = 0

    def __repr__(self) -> str:
        live = sum(len(feed.sessions) for feed in self._feeds.values())
        return f"<Room {self.name} head {self.head}, {live} of {len(self.members)} members live>"

    @property
    def is_conversation(self) -> bool:
        """Return whether it is the conversation of two identities."""
        return self.pair is not None

    def add_member(self, session: Session, event: MembershipEvent = MembershipEvent.JOIN) -> Member:
        """Make a session a member; return its membership.

        `JOIN`: live, it gets the messages after `head`. `JOIN_LAGGING`, `JOIN_ABSENT`: out of the feed; the
        caller gives it a cursor where it needs one.
        """
        membership = session.drop_ending(self) or Membership(self)
        membership.apply(event)
        if not self.has_user(session.identity):
            self.user_count += 1
        session.memberships[self.key] = self.members[session] = membership
        if membership.state is _LIVE:
            self._enter_feed(session, membership)
        return membership

    def go_live(self, session: Session) -> None:
        """Add a lagging member to the live feed: it gets the messages after `head`."""
        membership = self.members[session]
        membership.apply(MembershipEvent.CATCH_UP)
        self._enter_feed(session, membership)

    def leave_feed(self, session: Session, seq: int, event: MembershipEvent) -> Member:
        """Take a member off the live feed, of which it has received everything up to `seq`.

        `event`: `OVERFLOW` or `HOLD`. A member that is not in the feed changes its state only.
        """
        membership = self.members[session]
        self._exit_feed(session, membership, seq)
        membership.apply(event)
        return membership

    def remove_member(self, session: Session, event: MembershipEvent = MembershipEvent.LEAVE) -> Member:
        """Remove a member; after `OWE_CLOSED` and `SEND_CLOSED` the session keeps its membership."""
        membership = self.members.pop(session)
        self._exit_feed(session, membership, self.head)
        membership.apply(event)
        del session.memberships[self.key]
        if membership.state is not _OUT:
            session.keep_ending(membership)
        if not self.has_user(session.identity):
            self.user_count -= 1
        if not self.members:
            self.drop_tail()
            self.members, self._feeds = {}, {}  # an emptied dict would keep its memory
        return membership

    def has_user(self, user: User) -> bool:
        """Return whether a session of the user is a member."""
        for session in user.sessions:  # noqa: SIM110  `any` would cost three times as much
            if session in self.members:
                return True
        return False

    def membership_of(self, session: Session) -> Member | None:
        """Return the membership of a session, also one that outlasts a closing; None if it is out."""
        membership = self.members.get(session)
        if membership is None and session.ending is not None:
            return session.ending.get(self)
        return membership

    def cursor_of(self, session: Session) -> Cursor | None:
        """Return the session's cursor, None if it has none here."""
        membership = self.membership_of(session)
        return None if membership is None else membership.cursor

    def position_of(self, session: Session) -> int:
        """Return the seq after which the session gets the next message."""
        cursor = self.cursor_of(session)
        return self.head if cursor is None else cursor.seq

    def delivered_to(self, membership: Member, encoding: Encoding) -> tuple[int, int]:
        """Return the messages and bytes that a live member has received since it went live."""
        return self._delivered_live(membership, encoding, self.head)

    def publish(self, events: Sequence[MessageEvent]) -> tuple[int, int]:
        """Deliver a batch, ordered by seq; return the number of deliveries and their bytes.

        If an encoding raises, its members are fed from the log, the others get the batch, and it is raised.
        """
        self.head = events[-1].seq
        if self.members:
            self._append_tail(events)
        sent = 0
        deliveries = 0
        base = None
        encoded = b""
        failure: Exception | None = None
        for encoding, feed in self._feeds.items():
            sessions = feed.sessions
            if sessions:
                try:
                    if encoding.base is not base:
                        encoded = encoding.base.encode_messages(events)
                        base = encoding.base
                    long = len(encoded) > CHUNK_BYTES and len(events) > 1
                    chunk = encoded if long or encoding.frame is None else encoding.frame(encoded)
                except Exception as error:  # noqa: BLE001  a bug of one dialect must not stop the others
                    failure = error
                    self._move_to_backfill(feed, list(sessions), events, events)
                    continue
                if long:
                    more, size = self._publish_halves(encoding, feed, events, events)
                    deliveries += more
                    sent += size
                    continue
                overflowed = self._fan_out(sessions, chunk)
                if overflowed:
                    self._move_to_backfill(feed, overflowed, events, events)
                feed.sent_bytes += len(chunk)
                sent += len(chunk) * len(sessions)
                deliveries += len(sessions) * len(events)
        if failure is not None:
            raise failure
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
        self.trimmed = max(self.trimmed, seq)
        tail = self.tail
        while tail and tail[0].seq <= seq:
            tail.popleft()
        size = sum(map(message_bytes, tail))
        self._tails.total_bytes += size - self._tail_bytes
        self._tail_bytes = size

    def drop_tail(self) -> None:
        """Drop the tail; what it had is read from the store."""
        if self.tail is not _NO_TAIL:
            self.tail = _NO_TAIL
            self._tails.total_bytes -= self._tail_bytes
            self._tail_bytes = 0
            del self._tails.queue[self]

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
            membership = self.leave_feed(session, seq, MembershipEvent.OVERFLOW)
            self._on_overflow(session, membership, seq, own_seq)

    def _enter_feed(self, session: Session, membership: Member) -> None:
        feed = self._feeds.get(session.encoding) or self._add_feed(session.encoding)
        membership.live_head, membership.live_bytes = self.head, feed.sent_bytes
        feed.sessions[session.outbox] = session

    def _exit_feed(self, session: Session, membership: Member, seq: int) -> None:
        """Remove a member from its feed, if it is live, and keep what it has received up to `seq`."""
        if membership.state is _LIVE:
            messages, size = self._delivered_live(membership, session.encoding, seq)
            session.messages_out += messages
            session.bytes_out += size
            del self._feeds[session.encoding].sessions[session.outbox]

    def _delivered_live(self, membership: Member, encoding: Encoding, seq: int) -> tuple[int, int]:
        if membership.state is not _LIVE:
            return 0, 0
        return seq - membership.live_head, self._feeds[encoding].sent_bytes - membership.live_bytes

    def _append_tail(self, events: Sequence[MessageEvent]) -> None:
        tail = self.tail
        if tail is _NO_TAIL:
            self.tail = tail = deque()
            self._tails.queue[self] = self.head
        tail.extend(events)
        size = self._tail_bytes
        for event in events:  # `message_bytes`, inlined twice: this saves calls per message
            text = event.message
            size += (len(text) if text.isascii() else len(text) * NON_ASCII_BYTES) + MESSAGE_OVERHEAD_BYTES
        while len(tail) > TAIL_MESSAGES or size > TAIL_BYTES:
            text = tail.popleft().message
            size -= (len(text) if text.isascii() else len(text) * NON_ASCII_BYTES) + MESSAGE_OVERHEAD_BYTES
        tails = self._tails
        tails.total_bytes += size - self._tail_bytes
        self._tail_bytes = size
        if tails.total_bytes > tails.max_bytes:
            tails.shrink()


Session: TypeAlias = BaseSession[Room]
"""A session (sessions/session.py) in rooms of this class."""

User: TypeAlias = Identity[Session]
"""An identity with such sessions."""

Member: TypeAlias = Membership[Room]
"""A membership in such a room."""

OnOverflow: TypeAlias = Callable[[Session, Member, int, int], object]
"""Feeds a member that did not take a batch from the log: (session, membership, last seq that it has, seq of
its last own message in the batch or 0)."""


def delivered_to(session: Session) -> tuple[int, int]:
    """Return the messages that rooms have delivered to this session, and their bytes."""
    messages, size = session.messages_out, session.bytes_out
    for membership in session.memberships.values():
        more, bytes_more = membership.room.delivered_to(membership, session.encoding)
        messages += more
        size += bytes_more
    return messages, size
