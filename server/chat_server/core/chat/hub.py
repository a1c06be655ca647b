"""The hub: what the core consists of, access to rooms, and the waits of handlers.

Handlers (core/commands) go through it. Nothing here MAY switch greenlets, except `require_readable`,
`wait_own_delivered`, `wait_caught_up` and `wait_delivered`: names, members and heads change together.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import RoomState, ServerIdentity
from chat_server.core.base.address_allowances import AddressAllowances
from chat_server.core.base.interval_stats import IntervalStats
from chat_server.core.chat.closings import Closings
from chat_server.core.chat.conversations import Conversations
from chat_server.core.chat.openings import Openings
from chat_server.core.chat.presence import PresenceUpdates
from chat_server.core.chat.rooms import PublicRooms
from chat_server.core.chat.session_lifecycle import SessionLifecycle, wait_delivered
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.room import Room
from chat_server.core.delivery.tails import Tails
from chat_server.core.identity.permissions import CONVERSATION_PREFIX, Action, may
from chat_server.core.names.directory import Directory
from chat_server.core.ports.log import Log, StoreUnavailable
from chat_server.core.sessions.heartbeat import Heartbeat
from chat_server.core.sessions.resumable import RESUME_HOLD_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chat_server.core.base.limits import Limits
    from chat_server.core.delivery.ingest import Ingest
    from chat_server.core.delivery.observer import Observers
    from chat_server.core.delivery.room import Member, Session, User
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.link import FanOut
    from chat_server.core.ports.registry import NewRoom, Registry, StoredRoom
    from chat_server.core.ports.wakeup import Wakeup
    from chat_server.core.sessions.lagging import Lagging


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
        self.address_allowances = AddressAllowances()
        self.directory: Directory[Session] = Directory(clock)  # connected or held
        self.identities: dict[int, User] = {}  # connected or held
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
        self._tails = Tails()
        self.rooms = PublicRooms(
            self._new_room,
            self.backfill,
            self.presence_updates,
            registry,
            ingest,
            clock,
            lambda: self.limits,
        )
        self.conversations = Conversations(
            self.identities, self._new_room, ingest, clock, lambda: self.limits
        )
        self.closings = Closings(self.conversations, self.backfill, ingest)
        self.openings = Openings(self.conversations, self.closings, self.backfill, ingest)
        self.heartbeat = Heartbeat(clock, ping_interval, stalled_timeout)
        self.lifecycle = SessionLifecycle(
            self.identities,
            self.directory,
            self.rooms,
            self.conversations,
            self.closings,
            self.backfill,
            ingest,
            self.heartbeat,
            observers,
            clock,
            lambda: self.limits,
            lambda: self.stats,
            resume_hold=resume_hold,
        )
        self.sessions = self.lifecycle.connected  # by public id
        self.resumable = self.lifecycle.resumable
        self.directory.hold_left = self.resumable.hold_left
        self._recent_rtt_ms: deque[float] = deque(maxlen=512)
        self._fan_out = fan_out
        for row in registry.public_rooms():
            if row.head:  # else its first message was not stored: nobody has seen the room
                self.rooms.restore(row)
        for record in registry.resumable_sessions():
            self.lifecycle.restore(record)
        for stored in registry.conversations_of(self.identities.keys()):
            self.openings.restore(stored)

    def _on_closed_sent(self, session: Session, membership: Member) -> None:
        self.closings.finish_closing(session, membership)

    # Rooms of both kinds

    def trim_tails(self, lasts: Mapping[int, int]) -> None:
        """Drop from memory what the store has deleted: per room id, messages up to a seq."""
        for conversation in self.conversations.by_name.values():
            last = lasts.get(conversation.room.id)
            if last is not None:
                conversation.room.trim_tail(last)
        for room in [each for each in self.rooms.values() if each.id in lasts]:
            self.rooms.note_trimmed(room, lasts[room.id])

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

    def require_readable(self, session: Session, name: str) -> Room:
        """Return the room that the session reads, or raise `Refused`. May wait.

        A conversation that was dropped from memory, as its other user has left for good, is looked up in the
        registry; its room has no members then, and is in no list.
        """
        key = names.fold(name)
        if (
            name.startswith(CONVERSATION_PREFIX)
            and key not in session.memberships
            and key not in self.conversations.by_name
        ):
            try:
                row = self.registry.conversation_named(key)
            except StoreUnavailable as error:
                raise Refused(ErrorCode.UNAVAILABLE, f"message store unavailable: {error}") from error
            if row is not None and key not in self.conversations.by_name:
                room = self._new_room(row)
                refused = may(session, Action.READ, room, name)
                if refused is None:
                    return room
        return self.require_room(session, Action.READ, name)

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
        return Room(row, self._fan_out, self.backfill.fall_behind, self._tails)

    # Round trips

    def record_rtt(self, milliseconds: float) -> None:
        """Add a round trip of any session to those of the server."""
        self._recent_rtt_ms.append(milliseconds)

    def median_rtt_ms(self) -> float | None:
        """Return the median of the last round trips in ms, None if there are none."""
        return round(median(self._recent_rtt_ms), 3) if self._recent_rtt_ms else None

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
        wait_delivered(self.ingest, session)
