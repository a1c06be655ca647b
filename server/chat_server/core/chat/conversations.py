"""Conversations: rooms of two identities; opening, closing, and access to them.

Theory of operation. A conversation is a `Room` whose record has a pair of identities. It exists until neither
identity can return:

    closed --queue_opening--> opening --finish_opening--> open --close--> closed
                              opening --(rejected, or a side has left)--> closed

Closed: no members, `room.opener` is None. Opening: an opener, no members; the opening is queued among the
messages, so messages sent right after it are delivered. Open: both sides are members, and it counts for its
opener (`opened_count`). A message that is stored after its conversation was closed opens it again (`reopen`).

Each side gets `opened` and `closed`: at once if it is live, else through its cursor (`start_with`,
`end_with`), in order with the messages. An event that was sent may still be lost with its connection. So an
opening counts as unconfirmed until TCP has acknowledged its bytes, and so does a closing that follows it
(`_unconfirmed_closings`, checked by `tick`).

For a restart the store keeps a `ConversationState`, if a side is resumable: open since a seq; or closed by
one side, with the seq from which the other has to be replayed (`_replay_from`); or closed for both. The state
MUST be stored before a side gets `closed` (`save_closing`): a client that has received it does not name the
room when it resumes, and would get everything again. "Closed for both" is stored after both have received it.

Nothing here MAY switch greenlets: members and heads change together.
"""

from collections.abc import Callable, Mapping
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import Closed, Error, Opened
from chat_server.core.base.limits import Limits
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.batch import QueuedOpening, QueuedState
from chat_server.core.delivery.ingest import STORE_UNAVAILABLE_TEXT
from chat_server.core.delivery.room import Room
from chat_server.core.ports.registry import NewRoom, StoredConversation, StoredRoom
from chat_server.core.sessions.cursor import Cursor
from chat_server.core.sessions.session import Session

CONVERSATIONS_KEPT: Final = 1000
"""Closed conversations of a session that stay readable after their other side has left."""


class Conversations:
    """All conversations, open or closed, of identities that are connected or held."""

    def __init__(
        self,
        identities: Mapping[int, Session],
        new_room: Callable[[NewRoom | StoredRoom], Room],
        backfill: Backfill,
        *,
        limits: Callable[[], Limits],
        enqueue_opening: Callable[[QueuedOpening], None],
        enqueue_state: Callable[[QueuedState], None],
        enqueue_release: Callable[[Room], None],
    ) -> None:
        self.by_pair: dict[tuple[int, int], Room] = {}
        self.by_name: dict[str, Room] = {}  # by folded name, once stored
        self._identities = identities
        self._new_room = new_room
        self._backfill = backfill
        self._limits = limits
        self._enqueue_opening = enqueue_opening
        self._enqueue_state = enqueue_state
        self._enqueue_release = enqueue_release
        self._unconfirmed_closings: dict[tuple[Session, Room], None] = {}  # -> None; see above
        backfill.on_close_delivered = self._on_close_delivered

    def require_own(self, name: str, session: Session) -> Room:
        """Return a conversation of the session by name, or raise `Refused`; the same if it does not exist."""
        room = self.by_name.get(names.fold(name))
        if room is None or room.pair is None or session.identity not in room.pair:
            raise Refused(ErrorCode.FORBIDDEN, "only the two users of a conversation have access to it")
        return room

    def get_or_create(self, session: Session, peer: Session) -> Room:
        """Return the conversation of two users; create it, closed, if there is none. Raises `Refused`."""
        one, other = session.identity, peer.identity
        pair = (one, other) if one < other else (other, one)
        room = self.by_pair.get(pair)
        if room is None:
            self._check_limit(session)
            if peer.held and peer.lagging is not None and len(peer.lagging.cursors) >= CONVERSATIONS_KEPT:
                raise Refused(
                    ErrorCode.TOO_MANY, f"{peer.name} is away, and has too many unread conversations"
                )
            name = names.conversation_name(session.name, peer.name)
            room = self._new_room(NewRoom(name, names.fold(name), pair))
            self.by_pair[pair] = room
            for side in (session, peer):
                side.conversations[room] = None
                if len(side.conversations) > CONVERSATIONS_KEPT:
                    self._forget_oldest(side)
        return room

    def queue_opening(self, room: Room, session: Session, peer: Session, ref: str | None) -> None:
        """Queue the opening of a conversation, or raise `Refused`."""
        self._check_limit(session)
        session.opened_count += 1
        session.pending += 1
        room.opener = session
        self._enqueue_opening(QueuedOpening(room, session, peer, ref))
        if session.record is not None or peer.record is not None:
            since = min(self._replay_from(room, side, room.head) for side in (session, peer))
            self._enqueue_state(QueuedState(room, since))  # stored together with the opening

    def finish_opening(self, opening: QueuedOpening) -> None:
        """Open a conversation whose opening is stored, or report to the opener that it failed."""
        room, opener, peer, ref = opening.room, opening.opener, opening.peer, opening.ref
        opener.pending -= 1
        if not opening.failed and not peer.closed and not opener.closed:
            self._admit_both(room, opener, peer, ref)
            return
        opener.opened_count -= 1
        if not room.members:
            room.opener = None
            if not opening.failed:  # it was stored as open
                self._save_closed(room)
        if opening.failed:
            opener.send_if_open(Error(code=ErrorCode.UNAVAILABLE, message=STORE_UNAVAILABLE_TEXT, ref=ref))
            if not room.id:
                self._forget_conversation(room)
        else:
            opener.send_if_open(
                Error(code=ErrorCode.NO_SUCH_USER, message=f"{peer.name} has just left", ref=ref)
            )

    def _admit_both(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Make both sides members, unless a queued message has opened the conversation already (`reopen`)."""
        self.by_name[room.key] = room
        if not room.members:
            room.opener = opener
            self._make_members(room, opener, peer, ref)
            return
        opener.opened_count -= 1
        assert room.opener is not None
        by = room.opener.name
        opener.send(Opened(room=room.name, peer=peer.name, by=by, seq=position(room, opener), ref=ref))

    def reopen(self, room: Room, author: Session) -> None:
        """Open a conversation again that was closed while a message for it was queued.

        Another opening may be queued behind that message; it counts for its own opener.
        """
        peer = self.peer(room, author)
        if peer is None or author.closed:
            return
        author.opened_count += 1
        room.opener = author
        self._make_members(room, author, peer, None)
        self.save_state(room, room.head)

    def _make_members(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Send `opened` to both sides and make them members."""
        room.opened_seq = room.head
        for session, other in ((opener, peer), (peer, opener)):
            own_ref = ref if session is opener else None
            opened_event = Opened(
                room=room.name, peer=other.name, by=opener.name, seq=position(room, session), ref=own_ref
            )
            self._make_member(room, session, opened_event)

    def _make_member(self, room: Room, session: Session, opened_event: Opened) -> None:
        """Make one side a member: live, or with a cursor if it is lagging or held."""
        cursor = cursor_of(session, room)
        if cursor is not None:  # it has not received `closed` yet
            cursor.cancel_end()
            room.add_lagging_member(session)
            if opened_event.ref is not None:
                session.send(opened_event)
        elif session.held or session.outbox.full:
            room.add_lagging_member(session)
            self._backfill.fall_behind(session, room, room.head).start_with(opened_event)
        else:
            session.send(opened_event)
            session.note_unconfirmed(room, room.head)
            room.add_member(session)

    def save_closing(self, room: Room, by: Session) -> bool:
        """Queue the state that a closing leads to; return whether the caller must wait until it is stored.

        It is stored before anyone receives `closed`: a client that has received it no longer names the room
        when it resumes, and would be sent everything again if the server had forgotten the closing.
        """
        low, high = self._sides(room)
        if room.opener is None or not any(side is not None and side.record for side in (low, high)):
            return False
        peer, since = self.peer(room, by), None
        if peer is not None:
            closing_delivered = cursor_of(peer, room) is None and not (peer.held or peer.outbox.full)
            if not closing_delivered or room in peer.unconfirmed_openings():
                since = self._replay_from(room, peer, room.opened_seq if peer.held else room.head)
        self.save_state(room, since, by.identity)
        return True

    def close(self, room: Room, by: Session, ref: str | None) -> None:
        """Close a conversation for both sides; its history is kept. `save_closing` comes first."""
        members = list(room.members)
        for session in members:
            room.remove_member(session)
        if room.opener is not None:
            room.opener.opened_count -= 1
            room.opener = None
        replay_seqs: list[int] = []
        for session in members:
            peer = by.name if session is not by else self.peer_name(room, by)
            closed_event = Closed(room=room.name, peer=peer, by=by.name, ref=ref if session is by else None)
            cursor = cursor_of(session, room)
            if session is by and (by.closed or cursor is None or cursor.seq == room.head):
                self._backfill.drop_cursor(session, room)
                session.send_if_open(closed_event)
            elif session is by and cursor is not None:
                cursor.end_with(room, closed_event)  # a message was stored just now, and comes first
            else:
                since = self._deliver_closed(room, session, closed_event)
                if since is not None:
                    replay_seqs.append(since)
        self.save_state(room, min(replay_seqs, default=None), by.identity)

    def _deliver_closed(self, room: Room, session: Session, closed_event: Closed) -> int | None:
        """Send `closed` to the other side, now or after the messages that it still lacks.

        If it may not arrive, return the seq from which everything has to be replayed.
        """
        cursor = cursor_of(session, room)
        if cursor is not None and not cursor.client_knows and cursor.seq == room.head:
            self._backfill.drop_cursor(session, room)  # opened and closed again without a message
            return None
        if cursor is None:
            if not session.held and not session.outbox.full:
                session.send_if_open(closed_event)
                unconfirmed = session.unconfirmed_openings().get(room)
                if unconfirmed is None:
                    return None
                self._unconfirmed_closings[session, room] = None
                return unconfirmed[0]
            cursor = self._backfill.fall_behind(session, room, room.opened_seq if session.held else room.head)
        cursor.end_with(room, closed_event)
        return self._replay_from(room, session, cursor.seq)

    def tick(self) -> None:
        """Check which closings have arrived at clients that may not have received the opening."""
        for session, room in list(self._unconfirmed_closings):
            if session.held or session.closed or room not in session.unconfirmed_openings():
                del self._unconfirmed_closings[session, room]
                if not session.held:
                    self._on_close_delivered(session, room)

    def save_state(self, room: Room, seq: int | None, closed_by: int | None = None) -> None:
        """Queue the state of a conversation, if one of its sides may be resumed after a restart."""
        if room.id and any(
            session is not None and session.record is not None for session in self._sides(room)
        ):
            self._enqueue_state(QueuedState(room, seq, closed_by if seq is not None else None))

    def _on_close_delivered(self, session: Session, room: Room) -> None:
        if room in session.unconfirmed_openings():
            self._unconfirmed_closings[session, room] = None
        elif room.opener is None:
            self._save_closed(room)

    def _save_closed(self, room: Room) -> None:
        """Queue the state "closed", with a side that has not received `closed` yet, if there is one."""
        assert room.pair is not None
        low, high = self._sides(room)
        for side, other in ((low, room.pair[1]), (high, room.pair[0])):
            cursor = cursor_of(side, room) if side is not None else None
            if side is not None and cursor is not None and cursor.closed_event is not None:
                self.save_state(room, self._replay_from(room, side, cursor.seq), other)
                return
        self.save_state(room, None)

    @staticmethod
    def _replay_from(room: Room, session: Session, seq: int) -> int:
        """Return the seq from which a side has to be replayed: `seq` or less."""
        cursor = cursor_of(session, room)
        unconfirmed = session.unconfirmed_openings().get(room)
        return min(
            seq,
            cursor.seq if cursor is not None else seq,
            unconfirmed[0] if unconfirmed is not None else seq,
        )

    def _sides(self, room: Room) -> tuple[Session | None, Session | None]:
        assert room.pair is not None
        low, high = room.pair
        return self._identities.get(low), self._identities.get(high)

    def restore(self, stored: StoredConversation) -> None:
        """Add a stored conversation of resumable sessions, at start."""
        room = self._new_room(stored.room)
        assert room.pair is not None
        self.by_pair[room.pair] = room
        self.by_name[room.key] = room
        sides = self._sides(room)
        for side in sides:
            if side is not None:
                side.conversations[room] = None
        if stored.since is None:
            return
        room.opened_seq = stored.since
        if stored.closed_by is None and None not in sides:
            # The opener is not stored: count it for the side that has opened fewer.
            room.opener = min(
                (side for side in sides if side is not None), key=lambda side: side.opened_count
            )
            room.opener.opened_count += 1
        for side, name in zip(sides, stored.names[::-1], strict=True):
            if side is None or side.identity == stored.closed_by:
                continue
            if room.opener is not None:
                room.add_lagging_member(side)
            else:  # one side has closed it, or is gone: the other has to receive that
                cursor = self._backfill.fall_behind(side, room, stored.since)
                cursor.end_with(room, Closed(room=room.name, peer=name, by=name))

    def peer_name(self, room: Room, session: Session) -> str:
        """Return the current name of the other side, empty if it has left for good."""
        peer = self.peer(room, session)
        return peer.name if peer is not None else ""

    def peer(self, room: Room, session: Session) -> Session | None:
        """Return the other side, None if it has left for good."""
        assert room.pair is not None
        first, second = room.pair
        return self._identities.get(second if first == session.identity else first)

    def require_reopened(self, name: str, session: Session) -> Room:
        """Return a closed conversation of the session, with its opening queued. Raises `Refused`."""
        room = self.require_own(name, session)
        peer = self.peer(room, session)
        if peer is None:
            raise Refused(ErrorCode.NO_SUCH_USER, "the other user of this conversation has left")
        if room.opener is None:
            self.queue_opening(room, session, peer, None)
        return room

    def forget_conversations_of(self, session: Session) -> None:
        """Drop conversations of an identity that cannot return; keep those that the other side may read."""
        for room in list(session.conversations):
            if not room.head or self.peer(room, session) is None:
                self._forget_conversation(room)
        session.conversations = {}

    def _forget_oldest(self, session: Session) -> None:
        """Drop the oldest conversation whose other side has left: a long-running bot meets many users."""
        for room in session.conversations:
            if room.head and self.peer(room, session) is None and cursor_of(session, room) is None:
                self._forget_conversation(room)
                return

    def _forget_conversation(self, room: Room) -> None:
        assert room.pair is not None
        self._enqueue_release(room)
        self.by_pair.pop(room.pair, None)
        if self.by_name.get(room.key) is room:  # one that was never stored may share its name with another
            del self.by_name[room.key]
        for identity in room.pair:
            session = self._identities.get(identity)
            if session is not None:
                session.conversations.pop(room, None)

    def _check_limit(self, session: Session) -> None:
        limit = self._limits().max_conversations
        if session.opened_count >= limit > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you have {limit} open conversations; close one first")


def cursor_of(session: Session, room: Room) -> Cursor | None:
    """Return the session's cursor in a room, None if it is live there or not a member."""
    return session.lagging.cursors.get(room) if session.lagging is not None else None


def position(room: Room, session: Session) -> int:
    """Return the seq after which the session gets the next message."""
    cursor = cursor_of(session, room)
    return room.head if cursor is None else cursor.seq
