"""The hub: sessions, public rooms and conversations, and what happens when a session comes or goes.

Handlers (core/commands) go through it. Nothing here MAY switch greenlets, except `wait_own_delivered`,
`wait_caught_up`, `wait_delivered` and `persist_closings`: names, members and heads change together.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

from chat_protocol import names
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Closed, RoomState, ServerIdentity
from chat_server.core.base.interval_stats import IntervalStats
from chat_server.core.base.limits import Limits
from chat_server.core.base.sorted_dict import SortedDict
from chat_server.core.chat.conversations import Conversations, cursor_of, position
from chat_server.core.chat.presence import PresenceUpdates
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.observer import Observers
from chat_server.core.delivery.room import Room
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Confusables
from chat_server.core.names.directory import Directory
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import FanOut
from chat_server.core.ports.log import Log, Origin
from chat_server.core.ports.registry import NewRoom, Registry, SessionRecord, StoredRoom
from chat_server.core.ports.wakeup import Wakeup
from chat_server.core.sessions import detached
from chat_server.core.sessions.cursor import LaggingRooms
from chat_server.core.sessions.heartbeat import Heartbeat
from chat_server.core.sessions.resumable import RESUME_HOLD_S, ResumableSessions
from chat_server.core.sessions.session import Session


def new_public_id() -> str:
    """Return a new public id of a session (72 random bits)."""
    return secrets.token_urlsafe(9)


class Hub:
    """The state of the core.

    `ping_interval`, `stalled_timeout` and `resume_hold` are in seconds; the first two are above 0, and with a
    `resume_hold` of 0 a session without a connection ends at the next tick.
    """

    def __init__(
        self,
        *,
        server: ServerIdentity,
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
        self.address = ""
        self.log = log
        self.registry = registry
        self.clock = clock
        self.limits = limits
        self.ping_interval = ping_interval
        self.ingest = ingest
        self.stats = IntervalStats()
        self.sessions: dict[str, Session] = {}  # connected, by public id
        self.directory = Directory(clock)  # connected or held
        self.identities: dict[int, Session] = {}  # connected or held
        self.rooms: SortedDict[Room] = SortedDict()  # public, by folded name
        self.resumable = ResumableSessions(clock, resume_hold, lambda: self.limits, self._expire)
        self.backfill = Backfill(
            log, clock, lambda: self.stats, backfill_wakeup, observers, stalled_timeout=stalled_timeout
        )
        self.conversations = Conversations(
            self.identities,
            self._new_room,
            self.backfill,
            limits=lambda: self.limits,
            enqueue_opening=ingest.open_conversation,
            enqueue_state=ingest.save_conversation_state,
            enqueue_release=ingest.release_room,
        )
        self.presence_updates = PresenceUpdates(clock)
        self.heartbeat = Heartbeat(clock, ping_interval, stalled_timeout)
        self._observers = observers
        self._recent_rtt_ms: deque[float] = deque(maxlen=512)
        self._room_names = Confusables()
        self._fan_out = fan_out
        for row in registry.public_rooms():
            self.rooms[row.key] = self._new_room(row)
            self._room_names.add_name(row.name, row.key)
        for record in registry.resumable_sessions():
            self.restore_session(record)
        for stored in registry.conversations_of(self.identities.keys()):
            self.conversations.restore(stored)

    # Sessions

    def activate(self, session: Session, public_id: str, identity: int) -> None:
        """Register a session that has claimed its name: others can find it now."""
        session.id = public_id
        session.identity = identity
        session.connected_at = self.clock.time()
        session.conversations = {}
        self.sessions[public_id] = session
        self.identities[identity] = session
        self.stats.opened += 1

    def disconnect(self, session: Session) -> None:
        """Detach a session from its closed connection: it leaves its public rooms, and is held or closed."""
        if session.closed or session.held:
            return
        self.heartbeat.unwatch(session)
        self.backfill.stop_feeding(session)
        for room in list(session.rooms.values()):
            if not room.is_conversation:
                self.leave_room(room, session)
        self.sessions.pop(session.id, None)
        if session.for_good or session.record is None or session.link.bytes_acked() < session.welcome_end:
            self.close_session(session)  # a client that never got its welcome has no secret to resume with
        else:
            self._hold(session)
        for signal in session.disconnect_signals or ():
            signal.set()
        session.disconnect_signals = None

    def _hold(self, session: Session) -> None:
        """Hold a session whose connection was lost: it keeps its name, its refs and its conversations."""
        for room in session.rooms.values():
            room.leave_feed(session, room.head)
        unconfirmed = session.unconfirmed_openings()
        session.unconfirmed = None
        session.held = True
        address_key = session.link.address_key
        session.outbox, session.link = detached.OUTBOX, detached.LINK
        for room, cursor in list(session.lagging.cursors.items() if session.lagging is not None else ()):
            if cursor.client_knows and cursor.closed_event is None:
                self.backfill.drop_cursor(session, room)  # its client knows its position
        for room, (since, _) in unconfirmed.items():
            cursor = cursor_of(session, room) or self.backfill.fall_behind(session, room, since)
            cursor.seq = min(cursor.seq, since)
            cursor.client_knows = False
            if session not in room.members and cursor.closed_event is None:
                peer = self.conversations.peer_name(room, session)
                cursor.end_with(room, Closed(room=room.name, peer=peer, by=peer or session.name))
        self.resumable.hold(session, address_key)

    def persist_closings(self, session: Session) -> None:
        """Store that the session's conversations are closed, before it is closed for good. May wait."""
        conversations = [room for room in session.rooms.values() if room.is_conversation]
        saved = [self.conversations.save_closing(room, session) for room in conversations]
        if any(saved) or (session.for_good and session.record is not None):
            if session.record is not None:
                self.ingest.forget_session(session.id)
            self.wait_delivered(session)

    def _expire(self, session: Session) -> None:
        """End a held session: first in the store, then, after `EXPIRY_GRACE_S`, for everyone."""
        if session.for_good:
            self.close_session(session)
            return
        session.for_good = True
        for room in session.rooms.values():
            self.conversations.save_closing(room, session)
        self.ingest.forget_session(session.id)
        self.resumable.start_expiry(session)

    def close_session(self, session: Session) -> None:
        """Remove a session for good: close its conversations, release its name."""
        session.closed = True
        self.resumable.unregister(session)
        for room in list(session.rooms.values()):
            self.conversations.close(room, session, None)
        session.lagging = None
        self.directory.release(session)
        if session.id:
            del self.identities[session.identity]
            self.conversations.forget_conversations_of(session)
            if session.record is not None:
                self.ingest.forget_session(session.id)

    def restore_session(self, record: SessionRecord) -> None:
        """Register a stored session as held, at start."""
        session = Session(detached.LINK, detached.OUTBOX, self.clock.monotonic())
        session.held = session.identity_stored = session.refs_to_load = True
        session.id, session.identity, session.record = record.id, record.identity, record
        self.identities[record.identity] = session
        self.directory.assign(record.name, names.fold(record.name), session)
        self.resumable.register(session)
        self.resumable.hold(session)

    def kick(self, session: Session) -> None:
        """Disconnect a user, and block the name for a while."""
        self.directory.block_name(session.key)
        session.for_good = True
        if session.held:
            self.close_session(session)
        else:
            session.link.close_with_bye(ByeReason.KICKED)

    # Public rooms

    def find_or_make_room(self, name: str) -> Room:
        """Return the public room of that name, or a new one that `join_room` registers. Raises `Refused`."""
        room = self.rooms.get(name)
        if room is not None:
            return room
        try:
            shown = names.validate_name(name)
        except ValueError as error:
            raise Refused(ErrorCode.NAME_INVALID, f"invalid room name: {error}") from None
        key = names.fold(shown)
        return self.rooms.get(key) or self._make_room(shown, key)

    def _make_room(self, shown: str, key: str) -> Room:
        """Return a new public room, not registered yet, or raise `Refused`."""
        mixed = scripts.mixing_problem(shown)
        if mixed is not None:
            raise Refused(ErrorCode.NAME_INVALID, f"invalid room name: {mixed}")
        alike = self._room_names.find_confusable(shown, key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN,
                f"the room name {shown} looks like {alike}, which exists; choose another",
            )
        room = self._new_room(NewRoom(shown, key))
        self.check_new_rooms([room])
        return room

    def check_room_limit(self, count: int) -> None:
        """Raise `Refused` if a session may not be in `count` public rooms."""
        if count > self.limits.max_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you can be in at most {self.limits.max_rooms} rooms at once")

    def check_new_rooms(self, rooms: Iterable[Room]) -> None:
        """Raise `Refused` if those of `rooms` that are new may not be created together."""
        new = [room for room in rooms if room.key not in self.rooms]
        if new and len(self.rooms) + len(new) > self.limits.max_public_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, "the server has too many rooms; join an existing one")
        if len(new) > 1:
            confusables = Confusables()
            for room in new:
                alike = confusables.find_confusable(room.name, room.key)
                if alike is not None:
                    raise Refused(
                        ErrorCode.NAME_TAKEN,
                        f"the room names {room.name} and {alike} look alike; join one of them",
                    )
                confusables.add_name(room.name, room.key)

    def join_room(self, room: Room, session: Session, *, lagging: bool = False) -> Room:
        """Make the session a member of a public room; return the registered room.

        With `lagging` it has a cursor, and is backfilled first.
        """
        if room.key not in self.rooms:
            self.rooms[room.key] = room
            self._room_names.add_name(room.name, room.key)
        room = self.rooms[room.key]
        if session not in room.members:
            if lagging:
                room.add_lagging_member(session)
            else:
                room.add_member(session)
            self.presence_updates.note_joined(room, session.name)
        return room

    def leave_room(self, room: Room, session: Session) -> None:
        """Remove a member; a public room without members and messages is deleted."""
        room.remove_member(session)
        self.backfill.drop_cursor(session, room)
        self.presence_updates.note_left(room, session.name)
        if not room.members and not room.id and not room.is_queued and room.key in self.rooms:
            del self.rooms[room.key]
            self._room_names.remove_name(room.key)
            self.presence_updates.forget_room(room)

    def trim_tails(self, lasts: Mapping[int, int]) -> None:
        """Drop from memory what the store has deleted: per room id, messages up to a seq."""
        for rooms in (self.rooms, self.conversations.by_name):
            for room in rooms.values():
                last = lasts.get(room.id)
                if last is not None:
                    room.trim_tail(last)

    def require_joined(self, name: str, session: Session) -> Room:
        """Return the room that the session sends to, or raise `Refused`. Reopens a closed conversation."""
        room = session.rooms.get(name) or session.rooms.get(names.fold(name))
        if room is None:
            if name.startswith("@"):
                return self.conversations.require_reopened(name, session)
            raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")
        return room

    def require_readable(self, name: str, session: Session) -> Room:
        """Return a room that the session may read, or raise `Refused`."""
        room = session.rooms.get(names.fold(name))
        if room is not None:
            return room
        if name.startswith("@"):
            return self.conversations.require_own(name, session)
        raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")

    # Room states and round trips

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

    def room_state(self, room: Room, session: Session) -> RoomState:
        """Return the state of a room for one of its members: its position, and the members present."""
        if not room.is_conversation:
            return RoomState(room.name, position(room, session), len(room.members))
        present = sum(not member.held for member in room.members)
        peer, cursor = self.conversations.peer_name(room, session), cursor_of(session, room)
        if not peer and cursor is not None and cursor.closed_event is not None:
            peer = cursor.closed_event.peer  # it has left for good
        return RoomState(room.name, position(room, session), present, peer)

    def activate_operator(self, session: Session) -> None:
        """Register the operator at the server's terminal."""
        session.origin = Origin.SERVER
        self.directory.assign(names.SERVER_NAME, names.SERVER_NAME, session)
        self.activate(session, new_public_id(), self.registry.new_identity())

    def _new_room(self, row: NewRoom | StoredRoom) -> Room:
        return Room(row, self._fan_out, self.backfill)

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
        while (cursor := cursor_of(session, room)) is not None and cursor.seq < head:
            if session.outbox.closed or session.lagging is None:
                return
            self._wait_progress(session, session.lagging)

    @staticmethod
    def _wait_progress(session: Session, lagging: LaggingRooms) -> None:
        lagging.progress_signal = session.link.new_signal()
        session.link.wait(lagging.progress_signal)

    def wait_delivered(self, session: Session) -> None:
        """Wait until everything queued now, by any session, is delivered or rejected. May wait."""
        signal = session.link.new_signal()
        self.ingest.add_barrier(signal)
        session.link.wait(signal)
