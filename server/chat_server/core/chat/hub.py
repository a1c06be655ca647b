"""The hub: who is here under which name, which rooms there are, and who talks to whom.

Knows sessions, names, rooms and conversations. Must not know commands (core/commands), bytes on the wire, or
how anything is stored. Nothing here MAY switch greenlets, but for `settle`, `fed` and `catch_up`: names,
members and heads change together.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from statistics import median

from chat_protocol import names
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Closed, RoomState, ServerIdentity
from chat_server.core.base.interval_stats import Stats
from chat_server.core.base.limits import Limits
from chat_server.core.base.sorted_dict import Ordered
from chat_server.core.chat.conversations import Conversations, cursor_of, stand
from chat_server.core.chat.presence import Presences
from chat_server.core.delivery.backfill import Feeder
from chat_server.core.delivery.batch import Draft, Opening
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.room import Room
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Lookalikes
from chat_server.core.names.directory import Directory
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import FanOut
from chat_server.core.ports.records import Origin, RoomRecord, SessionRecord, Standing
from chat_server.core.ports.store import Store
from chat_server.core.sessions import detached
from chat_server.core.sessions.cursor import Behind
from chat_server.core.sessions.heartbeat import Heartbeat
from chat_server.core.sessions.resumable import RESUME_HOLD, Seats
from chat_server.core.sessions.session import Session


def new_public_id() -> str:
    """Return an id for a session, unlike any before it (72 random bits)."""
    return secrets.token_urlsafe(9)


class Hub:
    """The routing core's state."""

    def __init__(
        self,
        *,
        server: ServerIdentity,
        store: Store,
        clock: Clock,
        fan_out: FanOut,
        limits: Limits,
        ping_interval: float,
        stalled_timeout: float,
        resume_hold: float = RESUME_HOLD,
    ) -> None:
        self.server = server
        self.address = ""
        self.store = store
        self.clock = clock
        self.limits = limits
        self.ping_interval = ping_interval
        self.ingest: Ingest
        self.stats = Stats()
        self.sessions: dict[str, Session] = {}  # connected, by public id
        self.names = Directory(clock)  # connected or held
        self.identities: dict[int, Session] = {}  # as `names`
        self.rooms: Ordered[Room] = Ordered()  # public, by folded name
        self.seats = Seats(clock, resume_hold, lambda: self.limits, self._expire)
        self.feeder = Feeder(store, clock, lambda: self.stats, stalled_timeout=stalled_timeout)
        self.conversations = Conversations(
            self.identities,
            self._new_room,
            self.feeder,
            limits=lambda: self.limits,
            queue=self._queue_opening,
            note=self._note,
        )
        self.presences = Presences(clock)
        self.heartbeat = Heartbeat(clock, ping_interval, stalled_timeout)
        self.on_welcome: Callable[[Session, bool], None] = lambda _session, _resumed: None
        self._recent_rtt: deque[float] = deque(maxlen=512)
        self._room_names = Lookalikes()
        self._fan_out = fan_out
        for record in store.public_rooms():
            self.rooms[record.key] = self._new_room(record)
            self._room_names.add(record.name, record.key)
        for seat in store.sessions():
            self.restore(seat)
        for talk in store.talks(self.identities.keys()):
            self.conversations.restore(talk)

    # Sessions

    def enter(self, session: Session, public_id: str, identity: int) -> None:
        """Take in a session that has claimed its name: from now on others find it."""
        session.id = public_id
        session.identity = identity
        session.since = self.clock.time()
        session.talks = {}
        self.sessions[public_id] = session
        self.identities[identity] = session
        self.stats.opened += 1

    def depart(self, session: Session) -> None:
        """Let a session go from its connection: out of its rooms and, if its seat is not held, for good."""
        if session.closed or session.away:
            return
        self.heartbeat.remove(session)
        self.feeder.forget(session)
        for room in list(session.rooms.values()):
            if not room.is_conversation:
                self.leave(room, session)
        self.sessions.pop(session.id, None)
        if session.for_good or session.record is None or session.link.taken() < session.welcomed_at:
            self.end(session)  # a client that never got its welcome has no secret to come back with
        else:
            self._hold(session)
        for signal in session.leaving or ():
            signal.set()
        session.leaving = None

    def _hold(self, session: Session) -> None:
        """Hold the seat of a session that was cut: its name, its refs and its conversations wait for it."""
        for room in session.rooms.values():
            room.cut(session, room.head)
        unheard = session.unheard_of()
        session.unheard = None
        session.away = True
        site = session.link.site
        session.outbox, session.link = detached.OUTBOX, detached.LINK
        for room, cursor in list(session.behind.cursors.items() if session.behind is not None else ()):
            if cursor.known and cursor.last is None:
                self.feeder.drop(session, room)  # its client knows how far it has come
        for room, (since, _) in unheard.items():
            cursor = cursor_of(session, room) or self.feeder.cursor(session, room, since)
            cursor.seq = min(cursor.seq, since)
            cursor.known = False
            if session not in room.members and cursor.last is None:
                peer = self.conversations.peer_name(room, session)
                cursor.end(room, Closed(room=room.name, peer=peer, by=peer or session.name))
        self.seats.hold(session, site)

    def part(self, session: Session) -> None:
        """Store that the session's conversations are closed, if it does not come back. May wait."""
        talks = [room for room in session.rooms.values() if room.is_conversation]
        noted = [self.conversations.note_closing(room, session) for room in talks]
        if any(noted) or (session.for_good and session.record is not None):
            if session.record is not None:
                self.ingest.end(session.id)
            self.catch_up(session)

    def _expire(self, session: Session) -> None:
        """End a held session: first for the store, and, when that has had a moment, for everybody."""
        if session.for_good:
            self.end(session)
            return
        session.for_good = True
        for room in session.rooms.values():
            self.conversations.note_closing(room, session)
        self.ingest.end(session.id)
        self.seats.defer(session)

    def end(self, session: Session) -> None:
        """Let go of a session that does not come back: its conversations, its name, its seat."""
        session.closed = True
        self.seats.remove(session)
        for room in list(session.rooms.values()):
            self.conversations.close(room, session, None)
        session.behind = None
        self.names.release(session)
        if session.id:
            del self.identities[session.identity]
            self.conversations.forget(session)
            if session.record is not None:
                self.ingest.end(session.id)

    def restore(self, record: SessionRecord) -> None:
        """Hold the seat of a session that was there when the server ended."""
        session = Session(detached.LINK, detached.OUTBOX, self.clock.monotonic())
        session.away = session.identity_stored = session.refs_stored = True
        session.id, session.identity, session.record = record.id, record.identity, record
        self.identities[record.identity] = session
        self.names.take(record.name, names.fold(record.name), session)
        self.seats.add(session)
        self.seats.hold(session)

    def kick(self, session: Session) -> None:
        """Send somebody away, and keep the name out for a while."""
        self.names.banish(session.key)
        session.for_good = True
        if session.away:
            self.end(session)
        else:
            session.link.end(ByeReason.KICKED)

    # Public rooms

    def room(self, name: str) -> Room:
        """Return the public room of that name, or a new one (`join` registers it), or raise `Refused`."""
        room = self.rooms.get(name)
        if room is not None:
            return room
        try:
            shown = names.validate_name(name)
        except ValueError as error:
            raise Refused(ErrorCode.NAME_INVALID, f"no room can be called that: {error}") from None
        key = names.fold(shown)
        return self.rooms.get(key) or self._found(shown, key)

    def _found(self, shown: str, key: str) -> Room:
        """Return a new public room, or raise `Refused`."""
        mixed = scripts.problem(shown)
        if mixed is not None:
            raise Refused(ErrorCode.NAME_INVALID, f"no room can be called that: {mixed}")
        alike = self._room_names.taken_by(shown, key)
        if alike is not None:
            raise Refused(ErrorCode.NAME_TAKEN, f"the room {shown} would look like the room {alike}")
        room = self._new_room(RoomRecord(shown, key))
        self.check_rooms([room])
        return room

    def check_room_limit(self, count: int) -> None:
        """Raise `Refused` if a session may not be in `count` public rooms."""
        if count > self.limits.max_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, f"a session is in at most {self.limits.max_rooms} rooms")

    def check_rooms(self, rooms: Iterable[Room]) -> None:
        """Raise `Refused` if those of `rooms` that are new may not come into being together."""
        new = [room for room in rooms if room.key not in self.rooms]
        if new and len(self.rooms) + len(new) > self.limits.max_public_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, "there are too many rooms; join one of those")
        if len(new) > 1:
            found = Lookalikes()
            for room in new:
                alike = found.taken_by(room.name, room.key)
                if alike is not None:
                    raise Refused(ErrorCode.NAME_TAKEN, f"the room {room.name} looks like the room {alike}")
                found.add(room.name, room.key)

    def join(self, room: Room, session: Session, *, behind: bool = False) -> Room:
        """Make the session a member of a public room; return the room as it is registered.

        With `behind` it has a cursor, and is fed from the log first.
        """
        if room.key not in self.rooms:
            self.rooms[room.key] = room
            self._room_names.add(room.name, room.key)
        room = self.rooms[room.key]
        if session not in room.members:
            if behind:
                room.add_behind(session)
            else:
                room.add(session)
            self.presences.joined(room, session.name)
        return room

    def leave(self, room: Room, session: Session) -> None:
        """End a membership; a room without members and messages is gone."""
        room.remove(session)
        self.feeder.drop(session, room)
        self.presences.left(room, session.name)
        record = room.record
        if not room.members and not record.id and not record.queued and room.key in self.rooms:
            del self.rooms[room.key]
            self._room_names.remove(room.key)
            self.presences.forget(room)

    def trimmed(self, lasts: Mapping[int, int]) -> None:
        """Forget what the store no longer keeps: by the id of a room everything up to a seq."""
        for rooms in (self.rooms, self.conversations.by_name):
            for room in rooms.values():
                last = lasts.get(room.record.id)
                if last is not None:
                    room.forget_before(last)

    def joined_room(self, name: str, session: Session) -> Room:
        """Return the room in which the session says something, or raise `Refused`."""
        room = session.rooms.get(name) or session.rooms.get(names.fold(name))
        if room is None:
            if name.startswith("@"):
                return self.conversations.reopened(name, session)
            raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")
        return room

    def readable_room(self, name: str, session: Session) -> Room:
        """Return a room that the session may read, or raise `Refused`."""
        room = session.rooms.get(names.fold(name))
        if room is not None:
            return room
        if name.startswith("@"):
            return self.conversations.own(name, session)
        raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")

    # What is said of rooms and round trips

    def welcomed(self, session: Session, *, resumed: bool) -> None:
        """Begin to watch over a session that has got its welcome."""
        self.heartbeat.add(session)
        self.on_welcome(session, resumed)

    def measured(self, milliseconds: float) -> None:
        """Take a round trip of any session as a sample of this server's."""
        self._recent_rtt.append(milliseconds)

    def median_rtt(self) -> float | None:
        """Return the median of the last round trips in ms, None before the first."""
        return round(median(self._recent_rtt), 3) if self._recent_rtt else None

    def state(self, room: Room, session: Session) -> RoomState:
        """Describe a room to one of its members: where that one stands, and how many are there."""
        if not room.is_conversation:
            return RoomState(room.name, stand(room, session), len(room.members))
        present = sum(not member.away for member in room.members)
        peer, cursor = self.conversations.peer_name(room, session), cursor_of(session, room)
        if not peer and cursor is not None and cursor.last is not None:
            peer = cursor.last.peer  # who has gone for good
        return RoomState(room.name, stand(room, session), present, peer)

    def submit(self, session: Session, room: Room, text: str, ref: str | None) -> None:
        """Queue a message of a session in a room of its own."""
        session.messages_in += 1
        self.ingest.submit(Draft(room, session, session.name, text, ref, session.read_at))

    def operator(self, session: Session) -> None:
        """Take in the person at the server's terminal."""
        session.origin = Origin.SERVER
        self.names.take(names.SERVER_NAME, names.SERVER_NAME, session)
        self.enter(session, new_public_id(), self.store.new_identity())

    def _queue_opening(self, opening: Opening) -> None:
        self.ingest.open(opening)

    def _note(self, standing: Standing) -> None:
        self.ingest.note(standing)

    def _new_room(self, record: RoomRecord) -> Room:
        return Room(record, self._fan_out, self.feeder)

    # Waiting

    def settle(self, session: Session) -> None:
        """Wait until what the session has said is stored and told, also to itself. May wait."""
        if session.pending:
            self.catch_up(session)
        while session.behind is not None and session.behind.owes() and not session.outbox.shut:
            self._wait_fed(session, session.behind)

    def fed(self, session: Session, room: Room) -> None:
        """Wait until the session, if it is behind, has got what the room has by now. May wait."""
        head = room.head
        while (cursor := cursor_of(session, room)) is not None and cursor.seq < head:
            if session.outbox.shut or session.behind is None:
                return
            self._wait_fed(session, session.behind)

    @staticmethod
    def _wait_fed(session: Session, behind: Behind) -> None:
        behind.signal = session.link.new_signal()
        session.link.wait(behind.signal)

    def catch_up(self, session: Session) -> None:
        """Wait until what anybody has said by now is stored and told, or refused. May wait."""
        signal = session.link.new_signal()
        self.ingest.barrier(signal)
        session.link.wait(signal)
