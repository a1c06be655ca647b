"""Conversations of two: which there are, opening and closing them, and who may read them.

Knows pairs of identities and their rooms. Must not know names of public rooms, nor how an opening is stored.
Nothing here MAY switch greenlets: members and heads change together.
"""

from collections.abc import Callable, Mapping
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import Closed, Error, Opened
from chat_server.core.base.limits import Limits
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.batch import QueuedOpening
from chat_server.core.delivery.ingest import STORE_UNAVAILABLE_TEXT
from chat_server.core.delivery.room import Room
from chat_server.core.ports.records import ConversationState, RoomRecord, StoredConversation
from chat_server.core.sessions.cursor import Cursor
from chat_server.core.sessions.session import Session

CONVERSATIONS_KEPT: Final = 1000
"""Conversations of a session that stay readable after their other side has left."""


class Conversations:
    """All conversations of those who are connected or may come back, open or closed."""

    def __init__(
        self,
        identities: Mapping[int, Session],
        new_room: Callable[[RoomRecord], Room],
        backfill: Backfill,
        *,
        limits: Callable[[], Limits],
        enqueue_opening: Callable[[QueuedOpening], None],
        enqueue_state: Callable[[ConversationState], None],
    ) -> None:
        self.by_pair: dict[tuple[int, int], Room] = {}
        self.by_name: dict[str, Room] = {}  # by folded name, once stored
        self._identities = identities
        self._new_room = new_room
        self._backfill = backfill
        self._limits = limits
        self._enqueue_opening = enqueue_opening
        self._enqueue_state = enqueue_state
        self._unconfirmed_closings: dict[
            tuple[Session, Room], None
        ] = {}  # closed for somebody who may not know of it
        backfill.on_close_delivered = self._on_close_delivered

    def require_own(self, name: str, session: Session) -> Room:
        """Return a conversation by name, or raise `Refused`; whether others' exist is nobody's business."""
        room = self.by_name.get(names.fold(name))
        if room is None or room.record.pair is None or session.identity not in room.record.pair:
            raise Refused(ErrorCode.FORBIDDEN, "a conversation belongs to its two users")
        return room

    def get_or_create(self, session: Session, peer: Session) -> Room:
        """Return the conversation of the two, open or soon to be."""
        one, other = session.identity, peer.identity
        pair = (one, other) if one < other else (other, one)
        room = self.by_pair.get(pair)
        if room is None:
            self._check_limit(session)
            if peer.held and peer.lagging is not None and len(peer.lagging.cursors) >= CONVERSATIONS_KEPT:
                raise Refused(ErrorCode.TOO_MANY, f"too many conversations wait for {peer.name}")
            name = names.conversation_name(session.name, peer.name)
            room = self._new_room(RoomRecord(name, names.fold(name), pair=pair))
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
            since = min(self._replay_from(room, side, room.record.seq) for side in (session, peer))
            self._enqueue_state(ConversationState(room.record, since))  # stored together with the opening

    def finish_opening(self, opening: QueuedOpening) -> None:
        """Finish an opening that the store has, or with `failed` one that it refused."""
        room, opener, peer, ref = opening.room, opening.opener, opening.peer, opening.ref
        opener.pending -= 1
        if not opening.failed:  # the store may have numbered it, also if nobody is left to enter
            room.name, room.key = room.record.name, room.record.key
            if not peer.closed and not opener.closed:
                self._admit_both(room, opener, peer, ref)
                return
        opener.opened_count -= 1
        if not room.members:
            room.opener = None
            if not opening.failed:  # it is noted as open
                self._save_closed(room)
        if opening.failed:
            opener.send_if_open(Error(code=ErrorCode.UNAVAILABLE, message=STORE_UNAVAILABLE_TEXT, ref=ref))
            if not room.record.id:
                self._forget_conversation(room)
        else:
            opener.send_if_open(
                Error(code=ErrorCode.NO_SUCH_USER, message=f"{peer.name} has just left", ref=ref)
            )

    def _admit_both(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Let both sides in, unless a message that was on its way has opened it meanwhile (`revive`)."""
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
        """Open a conversation again that was closed while a message for it was being stored.

        Another opening may be queued behind the message: it keeps its own place in its opener's count.
        """
        peer = self.peer(room, author)
        if peer is None or author.closed:
            return
        author.opened_count += 1
        room.opener = author
        self._make_members(room, author, peer, None)
        self.save_state(room, room.head)

    def _make_members(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Tell both sides, then let them get what comes after."""
        room.opened_seq = room.head
        for session, other in ((opener, peer), (peer, opener)):
            own_ref = ref if session is opener else None
            opened_event = Opened(
                room=room.name, peer=other.name, by=opener.name, seq=position(room, session), ref=own_ref
            )
            self._make_member(room, session, opened_event)

    def _make_member(self, room: Room, session: Session, opened_event: Opened) -> None:
        """Make one side a member: live, or from the log where it is behind or away."""
        cursor = cursor_of(session, room)
        if cursor is not None:  # it has never heard that the conversation was closed
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
        """Let the store know that a conversation is about to be closed; tell whether it has to.

        It is to be stored before anybody is told: a client that has heard of the closing names the room no
        more when it comes back, and would be told everything again if the server had forgotten it.
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
        """Close a conversation for both sides; its history stays. `note_closing` comes first."""
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
                cursor.end_with(room, closed_event)  # something was said just now, and comes before it
            else:
                since = self._deliver_closed(room, session, closed_event)
                if since is not None:
                    replay_seqs.append(since)
        self.save_state(room, min(replay_seqs, default=None), by.identity)

    def _deliver_closed(self, room: Room, session: Session, closed_event: Closed) -> int | None:
        """Tell the other side, now or after what came before the closing.

        If it may not hear of that, return the seq after which it has to be told everything.
        """
        cursor = cursor_of(session, room)
        if cursor is not None and not cursor.client_knows and cursor.seq == room.head:
            self._backfill.drop_cursor(session, room)  # opened and closed, and nothing said in between
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
        """Note which closings have arrived at clients that may not even have heard of the opening."""
        for session, room in list(self._unconfirmed_closings):
            if session.held or session.closed or room not in session.unconfirmed_openings():
                del self._unconfirmed_closings[session, room]
                if not session.held:
                    self._on_close_delivered(session, room)

    def save_state(self, room: Room, seq: int | None, closed_by: int | None = None) -> None:
        """Let the store know how a conversation stands, if one of its sides may come back after a restart."""
        if room.record.id and any(
            session is not None and session.record is not None for session in self._sides(room)
        ):
            self._enqueue_state(ConversationState(room.record, seq, closed_by if seq is not None else None))

    def _on_close_delivered(self, session: Session, room: Room) -> None:
        if room in session.unconfirmed_openings():
            self._unconfirmed_closings[session, room] = None
        elif room.opener is None:
            self._save_closed(room)

    def _save_closed(self, room: Room) -> None:
        """Note that a conversation is closed; and by whom, as long as a side has still to be told so."""
        assert room.record.pair is not None
        low, high = self._sides(room)
        for side, other in ((low, room.record.pair[1]), (high, room.record.pair[0])):
            cursor = cursor_of(side, room) if side is not None else None
            if side is not None and cursor is not None and cursor.closed_event is not None:
                self.save_state(room, self._replay_from(room, side, cursor.seq), other)
                return
        self.save_state(room, None)

    @staticmethod
    def _replay_from(room: Room, session: Session, seq: int) -> int:
        """Return the seq after which a side has to be told everything, `seq` at the most."""
        cursor = cursor_of(session, room)
        unconfirmed = session.unconfirmed_openings().get(room)
        return min(
            seq,
            cursor.seq if cursor is not None else seq,
            unconfirmed[0] if unconfirmed is not None else seq,
        )

    def _sides(self, room: Room) -> tuple[Session | None, Session | None]:
        assert room.record.pair is not None
        low, high = room.record.pair
        return self._identities.get(low), self._identities.get(high)

    def restore(self, stored: StoredConversation) -> None:
        """Take in a conversation from before a restart, of sessions that may come back."""
        room = self._new_room(stored.room)
        assert room.record.pair is not None
        self.by_pair[room.record.pair] = room
        self.by_name[room.key] = room
        sides = self._sides(room)
        for side in sides:
            if side is not None:
                side.conversations[room] = None
        if stored.since is None:
            return
        room.opened_seq = stored.since
        if stored.closed_by is None and None not in sides:
            # Who opened it is not stored: it counts for the side that has fewer.
            room.opener = min(
                (side for side in sides if side is not None), key=lambda side: side.opened_count
            )
            room.opener.opened_count += 1
        for side, name in zip(sides, stored.names[::-1], strict=True):
            if side is None or side.identity == stored.closed_by:
                continue
            if room.opener is not None:
                room.add_lagging_member(side)
            else:  # it was closed, or its other side is gone for good: that is still to be told
                cursor = self._backfill.fall_behind(side, room, stored.since)
                cursor.end_with(room, Closed(room=room.name, peer=name, by=name))

    def peer_name(self, room: Room, session: Session) -> str:
        """Return the present name of the other side of a conversation, empty if it has left."""
        peer = self.peer(room, session)
        return peer.name if peer is not None else ""

    def peer(self, room: Room, session: Session) -> Session | None:
        """Return the other side of a conversation, None if it has left."""
        assert room.record.pair is not None
        first, second = room.record.pair
        return self._identities.get(second if first == session.identity else first)

    def require_reopened(self, name: str, session: Session) -> Room:
        """Return an own conversation that was closed, its opening queued."""
        room = self.require_own(name, session)
        peer = self.peer(room, session)
        if peer is None:
            raise Refused(ErrorCode.NO_SUCH_USER, "the other side of this conversation has left")
        if room.opener is None:
            self.queue_opening(room, session, peer, None)
        return room

    def forget_conversations_of(self, session: Session) -> None:
        """Drop the conversations of an identity that will not come back; the other side may still read."""
        for room in list(session.conversations):
            if not room.head or self.peer(room, session) is None:
                self._forget_conversation(room)
        session.conversations = {}

    def _forget_oldest(self, session: Session) -> None:
        """Drop the oldest conversation whose other side has left: a bot that lives for months meets many."""
        for room in session.conversations:
            if room.head and self.peer(room, session) is None and cursor_of(session, room) is None:
                self._forget_conversation(room)
                return

    def _forget_conversation(self, room: Room) -> None:
        assert room.record.pair is not None
        self.by_pair.pop(room.record.pair, None)
        if self.by_name.get(room.key) is room:  # one that was never opened may have another's name
            del self.by_name[room.key]
        for identity in room.record.pair:
            session = self._identities.get(identity)
            if session is not None:
                session.conversations.pop(room, None)

    def _check_limit(self, session: Session) -> None:
        limit = self._limits().max_conversations
        if session.opened_count >= limit > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you have {limit} open conversations; close one first")


def cursor_of(session: Session, room: Room) -> Cursor | None:
    """Return the session's cursor in a room, None where it is live or has nothing to do with it."""
    return session.lagging.cursors.get(room) if session.lagging is not None else None


def position(room: Room, session: Session) -> int:
    """Return the seq after which the next message comes to the session."""
    cursor = cursor_of(session, room)
    return room.head if cursor is None else cursor.seq
