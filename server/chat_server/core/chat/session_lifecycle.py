"""What happens when a session comes or goes: it is activated, held, resumed after a start, closed, kicked.

Its states are in core/sessions/lifecycle.py. Nothing here MAY switch greenlets, except `persist_closings`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from chat_protocol import names
from chat_protocol.errors import ByeReason
from chat_protocol.events import Closed
from chat_server.core.chat.conversation import ConversationState
from chat_server.core.ports.log import Origin
from chat_server.core.sessions import detached
from chat_server.core.sessions.lifecycle import SessionEvent, SessionState
from chat_server.core.sessions.membership import MembershipEvent, MembershipState
from chat_server.core.sessions.resumable import ResumableSessions
from chat_server.core.sessions.session import BaseSession, Resumption

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_server.core.base.interval_stats import IntervalStats
    from chat_server.core.base.limits import Limits
    from chat_server.core.chat.closings import Closings
    from chat_server.core.chat.conversations import Conversations
    from chat_server.core.chat.rooms import PublicRooms
    from chat_server.core.delivery.backfill import Backfill
    from chat_server.core.delivery.ingest import Ingest
    from chat_server.core.delivery.observer import Observers
    from chat_server.core.delivery.room import Member, Session, User
    from chat_server.core.names.directory import Directory
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.registry import SessionRecord
    from chat_server.core.sessions.heartbeat import Heartbeat

# Looked up once for all log-ins: in Python 3.11 a member of an enum costs the call of a Python function.
_ACTIVATE, _CLOSE = SessionEvent.ACTIVATE, SessionEvent.CLOSE
_ACTIVE, _HELD = SessionState.ACTIVE, SessionState.HELD


def new_public_id() -> str:
    """Return a new public id of a session (72 random bits)."""
    return secrets.token_urlsafe(9)


def wait_delivered(ingest: Ingest, session: Session) -> None:
    """Wait until everything queued now, by any session, is delivered or rejected. May wait."""
    signal = session.link.new_signal()
    ingest.add_barrier(signal)
    session.link.wait(signal)


def _has_others(session: Session) -> bool:
    """Return whether the user of a session has another one, which does not end as well."""
    sessions = session.identity.sessions
    return len(sessions) > 1 and any(
        one is not session and (one.state is _ACTIVE or one.state is _HELD) for one in sessions
    )


class SessionLifecycle:
    """All sessions: those that are connected, by public id, and those that may be resumed.

    `resume_hold`: seconds for which a session is held; with 0 it ends at the next tick.
    """

    def __init__(
        self,
        identities: dict[int, User],
        directory: Directory[Session],
        rooms: PublicRooms,
        conversations: Conversations,
        closings: Closings,
        backfill: Backfill,
        ingest: Ingest,
        heartbeat: Heartbeat,
        observers: Observers,
        clock: Clock,
        limits: Callable[[], Limits],
        stats: Callable[[], IntervalStats],
        *,
        resume_hold: float,
    ) -> None:
        self.connected: dict[str, Session] = {}  # by public id
        self.resumable = ResumableSessions(clock, resume_hold, limits, self._expire)
        self._identities = identities
        self._directory = directory
        self._rooms = rooms
        self._conversations = conversations
        self._closings = closings
        self._backfill = backfill
        self._ingest = ingest
        self._heartbeat = heartbeat
        self._observers = observers
        self._clock = clock
        self._stats = stats

    def activate(self, session: Session, public_id: str, identity: User) -> None:
        """Register a session under an identity that has its name and its id: others can find it now.

        If the identity has sessions already, this one is a member of its open conversations.
        """
        session.apply(_ACTIVATE)
        session.id = public_id
        session.connected_at = self._clock.time()
        session.identity = identity
        identity.add_session(session)
        self.connected[public_id] = session
        self._identities[identity.id] = identity
        self._stats().opened += 1
        for pair in identity.conversations or ():
            conversation = self._conversations.by_pair[pair]
            if conversation.is_open:
                conversation.room.add_member(session)

    def disconnect(self, session: Session) -> None:
        """Detach a session from its closed connection: it leaves its public rooms, and is held or closed."""
        if session.closed or session.held:
            return
        self._heartbeat.unwatch(session)
        self._backfill.stop_feeding(session)
        for membership in list(session.memberships.values()):
            if not membership.room.is_conversation:
                self._rooms.leave(membership.room, session)
        self.connected.pop(session.id, None)
        resumption = session.resumption
        if (
            session.state is not _ACTIVE
            or resumption is None
            or session.link.bytes_acked() < resumption.welcome_end
        ):
            self.close(session)  # a client that never got its welcome has no secret to resume with
        else:
            self._hold(session)
        if resumption is not None and resumption.disconnect_signals is not None:
            for signal in resumption.disconnect_signals:
                signal.set()
            resumption.disconnect_signals = None

    def _hold(self, session: Session) -> None:
        """Hold a session whose connection was lost: it keeps its name, its refs and its conversations."""
        for membership in session.memberships.values():
            membership.room.leave_feed(session, membership.room.head, MembershipEvent.HOLD)
        unconfirmed = self._take_unconfirmed(session)
        session.apply(SessionEvent.HOLD)
        address_key = session.link.address_key
        session.outbox, session.link = detached.OUTBOX, detached.LINK
        for membership, cursor in list(session.lagging.memberships.items() if session.lagging else ()):
            if cursor.client_knows and cursor.closed_event is None:
                self._backfill.drop_cursor(session, membership)  # its client knows its position
        for membership, since in unconfirmed:
            cursor = membership.cursor or self._backfill.fall_behind(session, membership, since)
            cursor.seq = min(cursor.seq, since)
            cursor.client_knows = False
            if membership.state is MembershipState.UNCONFIRMED:
                room = membership.room
                peer = self._conversations.peer_name(room, session.identity)
                cursor.end_with(room.head, Closed(room=room.name, peer=peer, by=peer or session.name))
        for membership in list(session.ending.values() if session.ending else ()):
            if membership.cursor is None:
                # Its client has received `opened`; if `closed` was lost, it names the room when it resumes.
                session.drop_ending(membership.room)
                membership.apply(MembershipEvent.LEAVE)
            else:
                membership.apply(MembershipEvent.HOLD)
        session.unload_refs()
        self.resumable.hold(session, address_key)

    @staticmethod
    def _take_unconfirmed(session: Session) -> list[tuple[Member, int]]:
        """Return the memberships whose openings are unconfirmed, in their order, each with its seq."""
        found = []
        for membership in (*session.memberships.values(), *(session.ending or {}).values()):
            since = session.unconfirmed_since(membership)
            if since is not None and membership.opening is not None:
                found.append((membership.opening[2], membership, since))
            membership.opening = None  # its position is one of the lost connection
        return [(membership, since) for _, membership, since in sorted(found, key=lambda one: one[0])]

    def persist_closings(self, session: Session) -> None:
        """Store which conversations end with the session, before it is closed for good. May wait."""
        saved = self._save_closings(session)
        resumable = session.resumption is not None
        if saved or (session.state is SessionState.LEAVING and resumable):
            if resumable:
                self._ingest.forget_session(session.id)
            wait_delivered(self._ingest, session)

    def _save_closings(self, session: Session) -> bool:
        """Queue the closings of the conversations that end with a session; return whether any are stored."""
        if _has_others(session):
            return False
        saved = [
            self._closings.save_closing(self._conversations.of(membership.room), session)
            for membership in session.memberships.values()
            if membership.room.is_conversation
        ]
        return any(saved)

    def _expire(self, session: Session) -> None:
        """End a held session: first in the store, then, after `EXPIRY_GRACE_S`, for everyone."""
        if session.state is SessionState.EXPIRING:
            self.close(session)
            return
        session.apply(SessionEvent.EXPIRE)
        self._save_closings(session)
        self._ingest.forget_session(session.id)
        self.resumable.start_expiry(session)

    def close(self, session: Session) -> None:
        """Remove a session for good; with a user's last one, close its conversations, release its name."""
        session.apply(_CLOSE)
        self.resumable.unregister(session)
        others = _has_others(session)
        for membership in list(session.memberships.values()):
            conversation = self._conversations.of(membership.room)
            if others and conversation.state is ConversationState.OPEN:
                membership.room.remove_member(session)
                self._backfill.drop_cursor(session, membership)
            else:  # a closing that is stored already is carried out
                self._closings.close(conversation, session, None)
        for membership in (session.ending or {}).values():
            membership.apply(MembershipEvent.LEAVE)
        session.lagging = session.ending = None
        identity = session.identity
        if not session.id:
            return
        identity.remove_session(session)
        if not identity.sessions:
            self._directory.release(identity)
            del self._identities[identity.id]
            self._conversations.forget_conversations_of(identity)
        if session.resumption is not None:
            self._ingest.forget_session(session.id)

    def restore(self, record: SessionRecord) -> None:
        """Register a stored session as held, at start."""
        session: Session = BaseSession(detached.LINK, detached.OUTBOX, self._clock.monotonic())
        session.apply(SessionEvent.RESTORE)
        session.id = record.id
        session.resumption = Resumption(record)
        session.resumption.refs_to_load = True
        identity = self._identities.get(record.identity)
        if identity is None:
            identity = self._directory.add(record.name, names.fold(record.name))
            identity.id, identity.is_stored = record.identity, True
            self._identities[record.identity] = identity
        identity.add_session(session)
        session.identity = identity
        self.resumable.register(session)
        self.resumable.hold(session)

    def kick(self, user: User) -> None:
        """Disconnect a user, and block the name for a while."""
        self._directory.block_name(user.key)
        for session in user.sessions:
            if session.held:
                self.close(session)
            else:
                session.apply(SessionEvent.LEAVE)
                session.link.close_with_bye(ByeReason.KICKED)

    def start_watching(self, session: Session, *, resumed: bool) -> None:
        """Start pinging a session that has been sent its welcome, and report it."""
        self._heartbeat.watch(session)
        self._observers.session_opened(session, resumed=resumed)

    def activate_operator(self, session: Session, number: int) -> None:
        """Register the operator at the server's terminal; `number`: of the identity."""
        session.origin = Origin.SERVER
        identity = self._directory.add(names.SERVER_NAME, names.SERVER_NAME)
        identity.id = number
        self.activate(session, new_public_id(), identity)
