"""Closing conversations: both users cease to be members, and get `closed`; and what a restart needs of it.

Each session gets `closed` at once if it is live, else through its cursor (`Cursor.end_with`), in order with
the messages. An event that was sent may still be lost with its connection. So an opening counts as
unconfirmed until TCP has acknowledged its bytes, and so does a closing that follows it (`_unconfirmed`,
checked by `tick`).

For a restart the store keeps a row, if a user is resumable: open since a seq; or closed by one side, with the
seq from which the other has to be replayed (`_replay_from`); or closed for both. The row MUST be stored
before a user gets `closed` (`save_closing`): a client that has received it does not name the room when it
resumes, and would get everything again. "Closed for both" is stored after both have received it.

MUST NOT switch greenlets: members and heads change together.
"""

from chat_protocol.events import Closed
from chat_server.core.chat.conversation import Conversation, ConversationEvent, ConversationState
from chat_server.core.chat.conversations import Conversations
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.batch import QueuedState
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.room import Member, Room, Session, User
from chat_server.core.sessions.membership import Membership, MembershipEvent, MembershipState


class Closings:
    """Closes conversations, and stores their states."""

    def __init__(self, conversations: Conversations, backfill: Backfill, ingest: Ingest) -> None:
        self._conversations = conversations
        self._backfill = backfill
        self._ingest = ingest
        self._unconfirmed: dict[Member, Session] = {}  # closings that may not have arrived; see above

    def save_closing(self, conversation: Conversation, by: Session) -> bool:
        """Queue the state that a closing leads to; return whether the caller must wait until it is stored.

        It is stored before anyone receives `closed`: a client that has received it no longer names the room
        when it resumes, and would be sent everything again if the server had forgotten the closing.
        """
        if not conversation.is_open or not self._is_resumable(conversation.room):
            return False
        conversation.apply(ConversationEvent.SAVE_CLOSING)
        room = conversation.room
        replay_seqs = []
        for session, membership in room.members.items():
            if session is by:
                continue
            delivered = membership.cursor is None and not (session.held or session.outbox.full)
            if not delivered or session.unconfirmed_since(membership) is not None:
                start = conversation.opened_seq if session.held else room.head
                replay_seqs.append(self._replay_from(room, session, start))
        self.save_state(room, min(replay_seqs, default=None), by.identity.id)
        return True

    def close(self, conversation: Conversation, by: Session, ref: str | None) -> None:
        """Close a conversation for both sides; its history is kept. `save_closing` comes first."""
        room, user = conversation.room, by.identity
        conversation.apply(ConversationEvent.CLOSE)
        if conversation.opener is not None:
            conversation.opener.opened_count -= 1
            conversation.opener = None
        replay_seqs: list[int] = []
        for session, membership in list(room.members.items()):
            peer = user.name if session.identity is not user else self._conversations.peer_name(room, user)
            closed_event = Closed(room=room.name, peer=peer, by=user.name, ref=ref if session is by else None)
            if session is by:
                self._close_own(session, membership, closed_event)
                continue
            since = self._deliver_closed(conversation, session, membership, closed_event)
            if since is not None:
                replay_seqs.append(since)
        self.save_state(room, min(replay_seqs, default=None), user.id)

    def _close_own(self, by: Session, membership: Member, closed_event: Closed) -> None:
        """Send `closed` to the session that closes, after the messages that it still lacks."""
        room, cursor = membership.room, membership.cursor
        if cursor is not None and cursor.seq != room.head and not by.closed:
            cursor.end_with(room.head, closed_event)  # a message was stored just now, and comes first
            room.remove_member(by, MembershipEvent.OWE_CLOSED)
            return
        self._backfill.drop_cursor(by, membership)
        unconfirmed = not by.closed and by.unconfirmed_since(membership) is not None
        room.remove_member(by, MembershipEvent.SEND_CLOSED if unconfirmed else MembershipEvent.LEAVE)
        by.send_if_open(closed_event)

    def _deliver_closed(
        self, conversation: Conversation, session: Session, membership: Member, closed_event: Closed
    ) -> int | None:
        """Send `closed` to another session, now or after the messages that it still lacks.

        If it may not arrive, return the seq from which everything has to be replayed.
        """
        room, cursor = conversation.room, membership.cursor
        if cursor is not None and not cursor.client_knows and cursor.seq == room.head:
            # Opened and closed again without a message; but an earlier opening may be unconfirmed.
            self._backfill.drop_cursor(session, membership)
            return self._remove_sent(session, membership)
        if cursor is None:
            if not session.held and not session.outbox.full:
                session.send_if_open(closed_event)
                return self._remove_sent(session, membership)
            start = conversation.opened_seq if session.held else room.head
            cursor = self._backfill.fall_behind(session, membership, start)
        cursor.end_with(room.head, closed_event)
        room.remove_member(session, MembershipEvent.OWE_CLOSED)
        return self._replay_from(room, session, cursor.seq)

    def _remove_sent(self, session: Session, membership: Member) -> int | None:
        """Remove a member that was sent all; return the seq of its opening if that is unconfirmed."""
        since = session.unconfirmed_since(membership)
        if since is None:
            membership.room.remove_member(session)
        else:
            membership.room.remove_member(session, MembershipEvent.SEND_CLOSED)
            self._unconfirmed[membership] = session
        return since

    def owe_closed(self, room: Room, session: Session, since: int, closed_event: Closed) -> Member:
        """Feed a session that is no member the messages after `since`, and then `closed`."""
        membership = room.membership_of(session) or Membership(room)
        if membership.state is MembershipState.ENDING:
            membership.apply(MembershipEvent.RESUME)
        else:
            membership.apply(MembershipEvent.OWE_CLOSED)
            session.keep_ending(membership)
        self._backfill.fall_behind(session, membership, since).end_with(room.head, closed_event)
        return membership

    def finish_closing(self, session: Session, membership: Member) -> None:
        """Note that `closed` was sent to a session, the last event of its membership."""
        if session.unconfirmed_since(membership) is not None:
            self._unconfirmed[membership] = session
            if membership.state is MembershipState.ENDING and membership.cursor is None:
                membership.apply(MembershipEvent.SEND_CLOSED)
            return
        if membership.state is MembershipState.UNCONFIRMED or (
            membership.state is MembershipState.ENDING and membership.cursor is None
        ):  # else it was opened again meanwhile
            session.drop_ending(membership.room)
            membership.apply(MembershipEvent.LEAVE)
        conversation = self._conversations.find(membership.room)
        if conversation is None or conversation.state is ConversationState.CLOSED:
            self.save_closed(membership.room)

    def tick(self) -> None:
        """Check which closings have arrived at clients that may not have received the opening."""
        for membership, session in list(self._unconfirmed.items()):
            if self._is_unconfirmed(session, membership):
                continue
            del self._unconfirmed[membership]
            arrived = membership.state in {MembershipState.UNCONFIRMED, MembershipState.OUT}
            if arrived and not session.closed:  # else it was opened again, or its `closed` is still owed
                self.finish_closing(session, membership)

    def save_opening(self, room: Room, user: User, peer: User) -> None:
        """Queue the state of a conversation whose opening was queued just now."""
        sessions = (*user.sessions, *peer.sessions)
        if any(session.resumption is not None for session in sessions):
            since = min(self._replay_from(room, session, room.head) for session in sessions)
            self._ingest.save_conversation_state(QueuedState(room, since))

    def save_state(self, room: Room, seq: int | None, closed_by: int | None = None) -> None:
        """Queue the state of a conversation, if one of its sides may be resumed after a restart."""
        if room.id and self._is_resumable(room):
            self._ingest.save_conversation_state(
                QueuedState(room, seq, closed_by if seq is not None else None)
            )

    def save_closed(self, room: Room) -> None:
        """Queue the state "closed", with a side that has not received `closed` yet, if there is one."""
        assert room.pair is not None
        low, high = self._conversations.sides(room)
        for side, other in ((low, room.pair[1]), (high, room.pair[0])):
            for session in side.sessions if side is not None else ():
                membership = room.membership_of(session)
                if membership is None or session in room.members:
                    continue
                if membership.cursor is not None or self._is_unconfirmed(session, membership):
                    self.save_state(room, self._replay_from(room, session, room.head), other)
                    return
        self.save_state(room, None)

    def _is_unconfirmed(self, session: Session, membership: Member) -> bool:
        """Return whether `closed` was sent, and may not have arrived."""
        return (
            membership in self._unconfirmed
            and membership.state is MembershipState.UNCONFIRMED
            and session.unconfirmed_since(membership) is not None
        )

    def _is_resumable(self, room: Room) -> bool:
        """Return whether a user of the conversation may be resumed after a restart."""
        return any(
            session.resumption is not None
            for side in self._conversations.sides(room)
            if side is not None
            for session in side.sessions
        )

    @staticmethod
    def _replay_from(room: Room, session: Session, seq: int) -> int:
        """Return the seq from which a session has to be replayed: `seq` or less."""
        membership = room.membership_of(session)
        if membership is None:
            return seq
        since = session.unconfirmed_since(membership)
        return min(
            seq,
            membership.cursor.seq if membership.cursor is not None else seq,
            since if since is not None else seq,
        )
