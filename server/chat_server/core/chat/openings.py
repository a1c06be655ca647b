"""Opening conversations: both users become members, and get `opened`. MUST NOT switch greenlets.

An opening is queued among the messages, so messages sent right after it are delivered. A message that is
stored after its conversation was closed opens it again (`reopen`). Each session gets `opened` at once if it
is live, else through its cursor (`Cursor.start_with`), in order with the messages.
"""

from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import Closed, Error, Opened
from chat_server.core.chat.closings import Closings
from chat_server.core.chat.conversation import (
    Conversation,
    ConversationEvent,
    ConversationState,
    is_stored_open,
)
from chat_server.core.chat.conversations import Conversations
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.batch import QueuedOpening
from chat_server.core.delivery.ingest import STORE_UNAVAILABLE_TEXT, Ingest
from chat_server.core.delivery.room import Room, Session, User
from chat_server.core.ports.registry import StoredConversation
from chat_server.core.sessions.membership import MembershipEvent


class Openings:
    """Opens conversations, once that is stored."""

    def __init__(
        self, conversations: Conversations, closings: Closings, backfill: Backfill, ingest: Ingest
    ) -> None:
        self._conversations = conversations
        self._closings = closings
        self._backfill = backfill
        self._ingest = ingest

    def queue_opening(
        self, conversation: Conversation, session: Session, peer: User, ref: str | None
    ) -> None:
        """Queue the opening of a conversation, or raise `Refused`."""
        user, room = session.identity, conversation.room
        self._conversations.check_limit(user)
        conversation.apply(ConversationEvent.QUEUE_OPENING)
        conversation.opener = user
        user.opened_count += 1
        session.pending += 1
        self._ingest.open_conversation(QueuedOpening(room, session, peer, ref))
        self._closings.save_opening(room, user, peer)  # stored together with it

    def finish_opening(self, opening: QueuedOpening) -> None:
        """Open a conversation whose opening is stored, or report to the opener that it failed."""
        room, session, peer, ref = opening.room, opening.opener, opening.peer, opening.ref
        conversation, user = self._conversations.find(room), session.identity
        session.pending -= 1
        if not opening.failed and conversation is not None and peer.sessions and not session.closed:
            self._admit_both(conversation, session, peer, ref)
            return
        user.opened_count -= 1
        if conversation is not None:
            conversation.apply(ConversationEvent.FAIL)
        if conversation is None or not conversation.is_open:
            if conversation is not None:
                conversation.opener = None
            if not opening.failed:  # it was stored as open
                self._closings.save_closed(room)
        if opening.failed:
            session.send_if_open(Error(code=ErrorCode.UNAVAILABLE, message=STORE_UNAVAILABLE_TEXT, ref=ref))
            if not room.id and conversation is not None:
                self._conversations.forget(conversation)
        else:
            session.send_if_open(
                Error(code=ErrorCode.NO_SUCH_USER, message=f"{peer.name} has just left", ref=ref)
            )

    def _admit_both(self, conversation: Conversation, session: Session, peer: User, ref: str | None) -> None:
        """Make both sides members, unless a queued message has opened the conversation already (`reopen`)."""
        room, user = conversation.room, session.identity
        self._conversations.by_name[room.key] = conversation
        was_open = conversation.is_open
        conversation.apply(ConversationEvent.OPENED)
        if not was_open:
            conversation.opener = user
            self._make_members(conversation, session, peer, ref)
            return
        user.opened_count -= 1
        assert conversation.opener is not None
        by = conversation.opener.name
        session.send(Opened(room=room.name, peer=peer.name, by=by, seq=room.position_of(session), ref=ref))

    def reopen(self, room: Room, author: Session) -> None:
        """Open a conversation again that was closed while a message for it was queued.

        Another opening may be queued behind that message; it counts for its own opener.
        """
        conversation = self._conversations.find(room)
        peer = self._conversations.peer(room, author.identity)
        if conversation is None or peer is None or author.closed:
            return
        conversation.apply(ConversationEvent.REOPEN)
        author.identity.opened_count += 1
        conversation.opener = author.identity
        self._closings.save_opening(room, author.identity, peer)  # from where they have lagged since
        self._make_members(conversation, author, peer, None)

    def _make_members(self, conversation: Conversation, opener: Session, peer: User, ref: str | None) -> None:
        """Send `opened` to all sessions of both sides and make them members."""
        room, user = conversation.room, opener.identity
        conversation.opened_seq = room.head
        for side, other in ((user, peer), (peer, user)):
            for session in side.sessions:
                opened_event = Opened(
                    room=room.name,
                    peer=other.name,
                    by=user.name,
                    seq=room.position_of(session),
                    ref=ref if session is opener else None,
                )
                self._make_member(room, session, opened_event)

    def _make_member(self, room: Room, session: Session, opened_event: Opened) -> None:
        """Make a session a member: live, or with a cursor if it is lagging or held."""
        joined = MembershipEvent.JOIN_ABSENT if session.held else MembershipEvent.JOIN_LAGGING
        ending = room.membership_of(session)
        if ending is not None and ending.cursor is not None:  # it has not received `closed` yet
            ending.cursor.cancel_end()
            room.add_member(session, joined)
            if opened_event.ref is not None:
                session.send(opened_event)
        elif session.held or session.outbox.full:
            membership = room.add_member(session, joined)
            self._backfill.fall_behind(session, membership, room.head).start_with(opened_event)
        else:
            session.send(opened_event)
            session.note_opening(room.add_member(session), room.head)

    def open_for_message(self, room: Room, session: Session) -> None:
        """Queue the opening of a closed conversation, in front of a message, or raise `Refused`."""
        conversation = self._conversations.of(room)
        peer = self._conversations.peer(room, session.identity)
        if peer is None:
            raise Refused(ErrorCode.NO_SUCH_USER, "the other user of this conversation has left")
        if conversation.state is ConversationState.CLOSED:
            self.queue_opening(conversation, session, peer, None)

    def restore(self, stored: StoredConversation) -> None:
        """Add a stored conversation of resumable sessions, at start."""
        conversation = self._conversations.add(stored.room)
        room = conversation.room
        self._conversations.by_name[room.key] = conversation
        sides = self._conversations.sides(room)
        present = [side for side in sides if side is not None]
        if stored.since is None:
            if None in sides:
                self._conversations.note_departed(conversation, present[0])
            return
        conversation.opened_seq = stored.since
        if is_stored_open(stored, both_can_return=None not in sides):
            # The opener is not stored: count it for the side that has opened fewer.
            conversation.state = ConversationState.OPEN
            conversation.opener = min(present, key=lambda side: side.opened_count)
            conversation.opener.opened_count += 1
        for side, name in zip(sides, stored.names[::-1], strict=True):
            if side is None or side.id == stored.closed_by:
                continue
            for session in side.sessions:
                if conversation.is_open:
                    room.add_member(session, MembershipEvent.JOIN_ABSENT)
                else:  # one side has closed it, or is gone: the other has to receive that
                    closed_event = Closed(room=room.name, peer=name, by=name)
                    self._closings.owe_closed(room, session, stored.since, closed_event)
        if None in sides:
            self._conversations.note_departed(conversation, present[0])
