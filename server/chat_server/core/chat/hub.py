"""The hub: what the core consists of, and what happens when a session comes or goes.

Handlers (core/commands) go through it. Nothing here MAY switch greenlets, except `wait_own_delivered`,
`wait_caught_up`, `wait_delivered` and `persist_closings`: names, members and heads change together.
"""

from __future__ import annotations

import secrets
from collections import deque
from statistics import median
from typing import TYPE_CHECKING

from chat_protocol import names
from chat_protocol.errors import ByeReason
from chat_protocol.events import Closed, RoomState, ServerIdentity
from chat_server.core.base.interval_stats import IntervalStats
from chat_server.core.chat.closings import Closings
from chat_server.core.chat.conversation import ConversationState
from chat_server.core.chat.conversations import Conversations
from chat_server.core.chat.openings import Openings
from chat_server.core.chat.presence import PresenceUpdates
from chat_server.core.chat.rooms import PublicRooms
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.room import Room
from chat_server.core.identity.permissions import CONVERSATION_PREFIX, Action, may
from chat_server.core.names.directory import Directory
from chat_server.core.ports.log import Log, Origin
from chat_server.core.sessions import detached
from chat_server.core.sessions.heartbeat import Heartbeat
from chat_server.core.sessions.lifecycle import SessionEvent, SessionState
from chat_server.core.sessions.membership import MembershipEvent, MembershipState
from chat_server.core.sessions.resumable import RESUME_HOLD_S, ResumableSessions
from chat_server.core.sessions.session import BaseSession, Resumption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chat_server.core.base.limits import Limits
    from chat_server.core.delivery.ingest import Ingest
    from chat_server.core.delivery.observer import Observers
    from chat_server.core.delivery.room import Member, Session, User
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.link import FanOut
    from chat_server.core.ports.registry import NewRoom, Registry, SessionRecord, StoredRoom
    from chat_server.core.ports.wakeup import Wakeup
    from chat_server.core.sessions.lagging import Lagging


# Looked up once for all log-ins: in Python 3.11 a member of an enum costs the call of a Python function.
_ACTIVATE, _CLOSE = SessionEvent.ACTIVATE, SessionEvent.CLOSE
_ACTIVE, _HELD = SessionState.ACTIVE, SessionState.HELD


def new_public_id() -> str:
    """Return a new public id of a session (72 random bits)."""
    return secrets.token_urlsafe(9)


def _has_others(session: Session) -> bool:
    """Return whether the user of a session has another one, which does not end as well."""
    sessions = session.identity.sessions
    return len(sessions) > 1 and any(
        one is not session and (one.state is _ACTIVE or one.state is _HELD) for one in sessions
    )


class Hub:
    """The state of the core.

    `ping_interval`, `stalled_timeout` and `resume_hold` are in seconds; the first two are above 0, and with a
    `resume_hold` of 0 a session without a connection ends at the next tick. `address`: HOST:PORT of the
    server, for the list of servers.
    """

    def __init__(
        self,
        *,
        server: ServerIdentity,
        address: str,
        log: Log,
        registry: Registry,
        ingest: Ingest,
        backfill_wakeup: Wakeup,
        observers: Observers,
        clock: Clock,
        fan_out: FanOut,
        limits: Limits,
        ping_interval: float,
        stalled_timeout: float,
        resume_hold: float = RESUME_HOLD_S,
    ) -> None:
        self.server = server
        self.address = address
        self.log = log
        self.registry = registry
        self.clock = clock
        self.limits = limits
        self.ping_interval = ping_interval
        self.ingest = ingest
        self.stats = IntervalStats()
        self.sessions: dict[str, Session] = {}  # connected, by public id
        self.directory: Directory[Session] = Directory(clock)  # connected or held
        self.identities: dict[int, User] = {}  # connected or held
        self.resumable = ResumableSessions(clock, resume_hold, lambda: self.limits, self._expire)
        self.backfill = Backfill(
            log,
            clock,
            lambda: self.stats,
            backfill_wakeup,
            observers,
            on_closed_sent=self._on_closed_sent,
            stalled_timeout=stalled_timeout,
        )
        self.presence_updates = PresenceUpdates(clock)
        self.rooms = PublicRooms(self._new_room, self.backfill, self.presence_updates, lambda: self.limits)
        self.conversations = Conversations(self.identities, self._new_room, ingest, lambda: self.limits)
        self.closings = Closings(self.conversations, self.backfill, ingest)
        self.openings = Openings(self.conversations, self.closings, self.backfill, ingest)
        self.heartbeat = Heartbeat(clock, ping_interval, stalled_timeout)
        self._observers = observers
        self._recent_rtt_ms: deque[float] = deque(maxlen=512)
        self._fan_out = fan_out
        for row in registry.public_rooms():
            if row.head:  # else its first message was not stored: nobody has seen the room
                self.rooms.restore(row)
        for record in registry.resumable_sessions():
            self.restore_session(record)
        for stored in registry.conversations_of(self.identities.keys()):
            self.openings.restore(stored)

    # Sessions

    def activate(self, session: Session, public_id: str, identity: User) -> None:
        """Register a session under an identity that has its name and its id: others can find it now.

        If the identity has sessions already, this one is a member of its open conversations.
        """
        session.apply(_ACTIVATE)
        session.id = public_id
        session.connected_at = self.clock.time()
        session.identity = identity
        identity.add_session(session)
        self.sessions[public_id] = session
        self.identities[identity.id] = identity
        self.stats.opened += 1
        for pair in identity.conversations or ():
            conversation = self.conversations.by_pair[pair]
            if conversation.is_open:
                conversation.room.add_member(session)

    def disconnect(self, session: Session) -> None:
        """Detach a session from its closed connection: it leaves its public rooms, and is held or closed."""
        if session.closed or session.held:
            return
        self.heartbeat.unwatch(session)
        self.backfill.stop_feeding(session)
        for membership in list(session.memberships.values()):
            if not membership.room.is_conversation:
                self.rooms.leave(membership.room, session)
        self.sessions.pop(session.id, None)
        resumption = session.resumption
        if (
            session.state is not _ACTIVE
            or resumption is None
            or session.link.bytes_acked() < resumption.welcome_end
        ):
            self.close_session(session)  # a client that never got its welcome has no secret to resume with
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
                self.backfill.drop_cursor(session, membership)  # its client knows its position
        for membership, since in unconfirmed:
            cursor = membership.cursor or self.backfill.fall_behind(session, membership, since)
            cursor.seq = min(cursor.seq, since)
            cursor.client_knows = False
            if membership.state is MembershipState.UNCONFIRMED:
                room = membership.room
                peer = self.conversations.peer_name(room, session.identity)
                cursor.end_with(room.head, Closed(room=room.name, peer=peer, by=peer or session.name))
        for membership in list(session.ending.values() if session.ending else ()):
            if membership.cursor is None:
                # Its client has received `opened`; if `closed` was lost, it names the room when it resumes.
                session.drop_ending(membership.room)
                membership.apply(MembershipEvent.LEAVE)
            else:
                membership.apply(MembershipEvent.HOLD)
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
                self.ingest.forget_session(session.id)
            self.wait_delivered(session)

    def _save_closings(self, session: Session) -> bool:
        """Queue the closings of the conversations that end with a session; return whether any are stored."""
        if _has_others(session):
            return False
        saved = [
            self.closings.save_closing(self.conversations.of(membership.room), session)
            for membership in session.memberships.values()
            if membership.room.is_conversation
        ]
        return any(saved)

    def _expire(self, session: Session) -> None:
        """End a held session: first in the store, then, after `EXPIRY_GRACE_S`, for everyone."""
        if session.state is SessionState.EXPIRING:
            self.close_session(session)
            return
        session.apply(SessionEvent.EXPIRE)
        self._save_closings(session)
        self.ingest.forget_session(session.id)
        self.resumable.start_expiry(session)

    def close_session(self, session: Session) -> None:
        """Remove a session for good; with a user's last one, close its conversations, release its name."""
        session.apply(_CLOSE)
        self.resumable.unregister(session)
        others = _has_others(session)
        for membership in list(session.memberships.values()):
            conversation = self.conversations.of(membership.room)
            if others and conversation.state is ConversationState.OPEN:
                membership.room.remove_member(session)
                self.backfill.drop_cursor(session, membership)
            else:  # a closing that is stored already is carried out
                self.closings.close(conversation, session, None)
        for membership in (session.ending or {}).values():
            membership.apply(MembershipEvent.LEAVE)
        session.lagging = session.ending = None
        identity = session.identity
        if not session.id:
            return
        identity.remove_session(session)
        if not identity.sessions:
            self.directory.release(identity)
            del self.identities[identity.id]
            self.conversations.forget_conversations_of(identity)
        if session.resumption is not None:
            self.ingest.forget_session(session.id)

    def restore_session(self, record: SessionRecord) -> None:
        """Register a stored session as held, at start."""
        session: Session = BaseSession(detached.LINK, detached.OUTBOX, self.clock.monotonic())
        session.apply(SessionEvent.RESTORE)
        session.id = record.id
        session.resumption = Resumption(record)
        session.resumption.refs_to_load = True
        identity = self.identities.get(record.identity)
        if identity is None:
            identity = self.directory.add(record.name, names.fold(record.name))
            identity.id, identity.is_stored = record.identity, True
            self.identities[record.identity] = identity
        identity.add_session(session)
        session.identity = identity
        self.resumable.register(session)
        self.resumable.hold(session)

    def kick(self, user: User) -> None:
        """Disconnect a user, and block the name for a while."""
        self.directory.block_name(user.key)
        for session in user.sessions:
            if session.held:
                self.close_session(session)
            else:
                session.apply(SessionEvent.LEAVE)
                session.link.close_with_bye(ByeReason.KICKED)

    def _on_closed_sent(self, session: Session, membership: Member) -> None:
        self.closings.finish_closing(session, membership)

    # Rooms of both kinds

    def trim_tails(self, lasts: Mapping[int, int]) -> None:
        """Drop from memory what the store has deleted: per room id, messages up to a seq."""
        conversations = (each.room for each in self.conversations.by_name.values())
        for room in (*self.rooms.values(), *conversations):
            last = lasts.get(room.id)
            if last is not None:
                room.trim_tail(last)

    def check_access(self, session: Session, action: Action, name: str) -> Room | None:
        """Return the room of that name, None if there is none; raise `Refused` if the action is refused."""
        key = names.fold(name)
        membership = session.memberships.get(key)
        if membership is not None:
            room: Room | None = membership.room
        elif name.startswith(CONVERSATION_PREFIX):
            conversation = self.conversations.by_name.get(key)
            room = None if conversation is None else conversation.room
        else:
            room = self.rooms.get(key)
        refused = may(session, action, room, name)
        if refused is not None:
            raise refused
        return room

    def require_room(self, session: Session, action: Action, name: str) -> Room:
        """Return the room that the session sends to or reads, or raise `Refused`."""
        room = self.check_access(session, action, name)
        assert room is not None  # what does not exist can be neither sent to nor read
        return room

    def room_state(self, room: Room, session: Session) -> RoomState:
        """Return the state of a room for one of its members: its position, and the users present."""
        if not room.is_conversation:
            return RoomState(room.name, room.position_of(session), room.user_count)
        present = {member.identity for member in room.members if not member.held}
        peer, cursor = self.conversations.peer_name(room, session.identity), room.cursor_of(session)
        if not peer and cursor is not None and cursor.closed_event is not None:
            peer = cursor.closed_event.peer  # it has left for good
        return RoomState(room.name, room.position_of(session), len(present), peer)

    def _new_room(self, row: NewRoom | StoredRoom) -> Room:
        return Room(row, self._fan_out, self.backfill.fall_behind)

    # Round trips

    def start_watching(self, session: Session, *, resumed: bool) -> None:
        """Start pinging a session that has been sent its welcome, and report it."""
        self.heartbeat.watch(session)
        self._observers.session_opened(session, resumed=resumed)

    def record_rtt(self, milliseconds: float) -> None:
        """Add a round trip of any session to those of the server."""
        self._recent_rtt_ms.append(milliseconds)

    def median_rtt_ms(self) -> float | None:
        """Return the median of the last round trips in ms, None if there are none."""
        return round(median(self._recent_rtt_ms), 3) if self._recent_rtt_ms else None

    def activate_operator(self, session: Session) -> None:
        """Register the operator at the server's terminal."""
        session.origin = Origin.SERVER
        identity = self.directory.add(names.SERVER_NAME, names.SERVER_NAME)
        identity.id = self.registry.new_identity()
        self.activate(session, new_public_id(), identity)

    # Waiting

    def wait_own_delivered(self, session: Session) -> None:
        """Wait until the session's own messages are stored and delivered, also to itself. May wait."""
        if session.pending:
            self.wait_delivered(session)
        while (
            session.lagging is not None and session.lagging.owes_own_message() and not session.outbox.closed
        ):
            self._wait_progress(session, session.lagging)

    def wait_caught_up(self, session: Session, room: Room) -> None:
        """Wait until the session has received the room up to its current head. May wait."""
        head = room.head
        while room.position_of(session) < head:
            if session.outbox.closed or session.lagging is None:
                return
            self._wait_progress(session, session.lagging)

    @staticmethod
    def _wait_progress(session: Session, lagging: Lagging[Room]) -> None:
        lagging.progress_signal = session.link.new_signal()
        session.link.wait(lagging.progress_signal)

    def wait_delivered(self, session: Session) -> None:
        """Wait until everything queued now, by any session, is delivered or rejected. May wait."""
        signal = session.link.new_signal()
        self.ingest.add_barrier(signal)
        session.link.wait(signal)
