"""The hub: who is here under which name, which rooms there are, and who talks to whom.

Knows sessions, names, rooms and conversations. Must not know commands (core/commands), bytes on the wire, or
how anything is stored. Nothing here MAY switch greenlets: names, members and heads change together.
"""

from __future__ import annotations

import random
import secrets
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Closed, Error, Opened, RoomState, ServerIdentity
from chat_server.core.heartbeat import Heartbeat
from chat_server.core.ingest import SORRY, Ingest
from chat_server.core.limits import Limits
from chat_server.core.ports import Clock, FanOut, Store
from chat_server.core.presence import Presences
from chat_server.core.records import Draft, Opening, Origin, RoomRecord
from chat_server.core.room import Room
from chat_server.core.session import Session
from chat_server.core.stats import Stats

KICKED_FOR: Final = 60.0
"""Seconds for which the name of somebody who was kicked stays out."""

TALKS_KEPT: Final = 1000
"""Conversations of a session that stay readable after their other side has left."""

_GUEST_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look alike


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
    ) -> None:
        self.server = server
        self.address = ""
        self.store = store
        self.clock = clock
        self.limits = limits
        self.ping_interval = ping_interval
        self.ingest: Ingest
        self.stats = Stats()
        self.sessions: dict[str, Session] = {}  # by public id
        self.names: dict[str, Session] = {}  # by folded name
        self.identities: dict[int, Session] = {}
        self.rooms: dict[str, Room] = {}  # public, by folded name
        self.conversations: dict[tuple[int, int], Room] = {}
        self.by_name: dict[str, Room] = {}  # conversations, by folded name
        self.presences = Presences(clock)
        self.heartbeat = Heartbeat(clock, ping_interval, stalled_timeout)
        self.on_welcome: Callable[[Session], None] = lambda _session: None
        self._recent_rtt: deque[float] = deque(maxlen=512)
        self._kicked: dict[str, float] = {}  # folded name -> until when (monotonic)
        self._fan_out = fan_out
        for record in store.public_rooms():
            self.rooms[record.key] = Room(record, fan_out)

    # Names

    def check_name(self, name: str) -> tuple[str, str]:
        """Return (shown, folded) of a name that a client may choose, or raise `Refused`."""
        try:
            shown = names.clean(name)
        except ValueError as error:
            raise Refused(ErrorCode.NAME_INVALID, str(error)) from None
        key = names.fold(shown)
        if names.reserved(key):
            raise Refused(ErrorCode.NAME_INVALID, f"the name {shown} is reserved; choose another")
        return shown, key

    def claim(self, name: str, session: Session) -> None:
        """Give the session a name of its choice, or raise `Refused`."""
        shown, key = self.check_name(name)
        until = self._kicked.get(key)
        if until is not None:
            wait = until - self.clock.monotonic()
            if wait > 0:
                raise Refused(ErrorCode.FORBIDDEN, f"{shown} was asked to leave", retry_after=round(wait, 1))
            del self._kicked[key]
        holder = self.names.get(key)
        if holder is not None and holder is not session:
            raise Refused(ErrorCode.NAME_TAKEN, f"the name {shown} is taken; choose another")
        self._take_name(shown, key, session)

    def claim_guest(self, session: Session) -> None:
        """Give the session a guest's name."""
        while True:
            shown = names.GUEST_PREFIX + "".join(random.choices(_GUEST_LETTERS, k=4))
            if shown not in self.names:
                return self._take_name(shown, shown, session)

    def _take_name(self, shown: str, key: str, session: Session) -> None:
        if session.key:
            del self.names[session.key]
        session.name = shown
        session.key = key
        self.names[key] = session

    def user(self, name: str) -> Session:
        """Return who is connected under `name`, or raise `Refused`."""
        session = self.names.get(name) or self.names.get(names.fold(name))
        if session is None or not session.id:
            raise Refused(ErrorCode.NO_SUCH_USER, f"nobody here is called {name[: names.MAX_NAME]}")
        return session

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

    def release_name(self, session: Session) -> None:
        """Give back the name of a session that could not enter after all."""
        del self.names[session.key]
        session.name = session.key = ""

    def depart(self, session: Session) -> None:
        """Let a session go: its rooms, its conversations, its name."""
        if session.closed:
            return
        session.closed = True
        self.heartbeat.remove(session)
        for room in list(session.rooms.values()):
            if room.is_conversation:
                self.close_conversation(room, session, None)
            else:
                self.leave(room, session)
        if session.key and self.names.get(session.key) is session:
            del self.names[session.key]
        if session.id:
            del self.sessions[session.id]
            del self.identities[session.identity]
            self._forget_conversations(session)

    def kick(self, session: Session) -> None:
        """Send somebody away, and keep the name out for a while."""
        now = self.clock.monotonic()
        self._kicked = {key: until for key, until in self._kicked.items() if until > now}
        self._kicked[session.key] = now + KICKED_FOR
        session.link.end(ByeReason.KICKED)

    # Public rooms

    def room(self, name: str) -> Room:
        """Return the public room of that name, or a new one (`join` registers it), or raise `Refused`."""
        room = self.rooms.get(name)
        if room is not None:
            return room
        try:
            shown = names.clean(name)
        except ValueError as error:
            raise Refused(ErrorCode.NAME_INVALID, f"no room can be called that: {error}") from None
        key = names.fold(shown)
        return self.rooms.get(key) or Room(RoomRecord(shown, key), self._fan_out)

    def join(self, room: Room, session: Session) -> Room:
        """Make the session a member of a public room; return the room as it is registered."""
        room = self.rooms.setdefault(room.key, room)
        if session not in room.members:
            room.add(session)
            self.presences.joined(room, session.name)
        return room

    def leave(self, room: Room, session: Session) -> None:
        """End a membership; a room without members and messages is gone."""
        room.remove(session)
        self.presences.left(room, session.name)
        record = room.record
        if not room.members and not record.id and not record.queued:
            self.rooms.pop(room.key, None)

    def joined_room(self, name: str, session: Session) -> Room:
        """Return the room in which the session says something, or raise `Refused`."""
        room = session.rooms.get(name) or session.rooms.get(names.fold(name))
        if room is None:
            if name.startswith("@"):
                return self._reopened(name, session)
            raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")
        return room

    def readable_room(self, name: str, session: Session) -> Room:
        """Return a room that the session may read, or raise `Refused`."""
        room = session.rooms.get(names.fold(name))
        if room is not None:
            return room
        if name.startswith("@"):
            return self.own_conversation(name, session)
        raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")

    # Conversations

    def own_conversation(self, name: str, session: Session) -> Room:
        """Return a conversation by name, or raise `Refused`; whether others' exist is nobody's business."""
        room = self.by_name.get(names.fold(name))
        if room is None or room.record.pair is None or session.identity not in room.record.pair:
            raise Refused(ErrorCode.FORBIDDEN, "a conversation belongs to its two users")
        return room

    def conversation(self, session: Session, peer: Session) -> Room:
        """Return the conversation of the two, open or soon to be."""
        one, other = session.identity, peer.identity
        pair = (one, other) if one < other else (other, one)
        room = self.conversations.get(pair)
        if room is None:
            self._check_conversations(session)
            name = names.conversation_name(session.name, peer.name)
            room = Room(RoomRecord(name, names.fold(name), pair=pair), self._fan_out)
            self.conversations[pair] = room
            for side in (session, peer):
                side.talks[room] = None
                if len(side.talks) > TALKS_KEPT:
                    self._forget_oldest(side)
        return room

    def open(self, room: Room, session: Session, peer: Session, ref: str | None) -> None:
        """Queue the opening of a conversation, or raise `Refused`."""
        self._check_conversations(session)
        session.conversations += 1
        session.pending += 1
        room.opener = session
        self.ingest.open(Opening(room, session, peer, ref))

    def opened(self, opening: Opening) -> None:
        """Finish an opening that the store has, or with `failed` one that it refused."""
        room, opener, peer, ref = opening.room, opening.opener, opening.peer, opening.ref
        opener.pending -= 1
        if not opening.failed:  # the store may have numbered it, also if nobody is left to enter
            room.name, room.key = room.record.name, room.record.key
            if not peer.closed and not opener.closed:
                self._opened(room, opener, peer, ref)
                return
        opener.conversations -= 1
        if not room.members:
            room.opener = None
        if opening.failed:
            opener.answer(Error(code=ErrorCode.UNAVAILABLE, message=SORRY, ref=ref))
            if not room.record.id:
                self._forget_conversation(room)
        else:
            opener.answer(Error(code=ErrorCode.NO_SUCH_USER, message=f"{peer.name} has just left", ref=ref))

    def _opened(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Let both sides in, unless a message that was on its way has opened it meanwhile (`revive`)."""
        self.by_name[room.key] = room
        if not room.members:
            room.opener = opener
            self._enter_conversation(room, opener, peer, ref)
            return
        opener.conversations -= 1
        assert room.opener is not None
        by = room.opener.name
        opener.send(Opened(room=room.name, peer=peer.name, by=by, seq=room.head, ref=ref))

    def revive(self, room: Room, author: Session) -> None:
        """Open a conversation again that was closed while a message for it was being stored.

        Another opening may be queued behind the message: it keeps its own place in its opener's count.
        """
        peer = self._peer(room, author)
        if peer is None or author.closed:
            return
        author.conversations += 1
        room.opener = author
        self._enter_conversation(room, author, peer, None)

    def _enter_conversation(self, room: Room, opener: Session, peer: Session, ref: str | None) -> None:
        """Tell both sides, then let them get what comes after."""
        for session, other in ((opener, peer), (peer, opener)):
            own_ref = ref if session is opener else None
            session.send(Opened(room=room.name, peer=other.name, by=opener.name, seq=room.head, ref=own_ref))
            room.add(session)

    def close_conversation(self, room: Room, by: Session, ref: str | None) -> None:
        """Close a conversation for both sides; its history stays."""
        members = list(room.members)
        for session in members:
            room.remove(session)
        if room.opener is not None:
            room.opener.conversations -= 1
            room.opener = None
        for session in members:
            peer = by.name if session is not by else self.peer_name(room, by)
            session.answer(Closed(room=room.name, peer=peer, by=by.name, ref=ref if session is by else None))

    def peer_name(self, room: Room, session: Session) -> str:
        """Return the present name of the other side of a conversation, empty if it has left."""
        peer = self._peer(room, session)
        return peer.name if peer is not None else ""

    def _peer(self, room: Room, session: Session) -> Session | None:
        assert room.record.pair is not None
        first, second = room.record.pair
        return self.identities.get(second if first == session.identity else first)

    def _reopened(self, name: str, session: Session) -> Room:
        """Return an own conversation that was closed, its opening queued."""
        room = self.own_conversation(name, session)
        peer = self._peer(room, session)
        if peer is None:
            raise Refused(ErrorCode.NO_SUCH_USER, "the other side of this conversation has left")
        if room.opener is None:
            self.open(room, session, peer, None)
        return room

    def _forget_conversations(self, session: Session) -> None:
        """Drop the conversations of an identity that will not come back; the other side may still read."""
        for room in list(session.talks):
            if not room.head or self._peer(room, session) is None:
                self._forget_conversation(room)
        session.talks = {}

    def _forget_oldest(self, session: Session) -> None:
        """Drop the oldest conversation whose other side has left: a bot that lives for months meets many."""
        for room in session.talks:
            if room.head and self._peer(room, session) is None:
                self._forget_conversation(room)
                return

    def _forget_conversation(self, room: Room) -> None:
        assert room.record.pair is not None
        self.conversations.pop(room.record.pair, None)
        if self.by_name.get(room.key) is room:  # one that was never opened may have another's name
            del self.by_name[room.key]
        for identity in room.record.pair:
            session = self.identities.get(identity)
            if session is not None:
                session.talks.pop(room, None)

    def _check_conversations(self, session: Session) -> None:
        limit = self.limits.max_conversations
        if session.conversations >= limit > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you have {limit} open conversations; close one first")

    # What is said of rooms and round trips

    def welcomed(self, session: Session) -> None:
        """Begin to watch over a session that has got its welcome."""
        self.heartbeat.add(session)
        self.on_welcome(session)

    def measured(self, milliseconds: float) -> None:
        """Take a round trip of any session as a sample of this server's."""
        self._recent_rtt.append(milliseconds)

    def median_rtt(self) -> float | None:
        """Return the median of the last round trips in ms, None before the first."""
        return round(median(self._recent_rtt), 3) if self._recent_rtt else None

    def state(self, room: Room, session: Session) -> RoomState:
        """Describe a room to one of its members."""
        peer = self.peer_name(room, session) if room.is_conversation else None
        return RoomState(room.name, room.head, len(room.members), peer)

    def submit(self, session: Session, room: Room, text: str, ref: str | None) -> None:
        """Queue a message of a session in a room of its own."""
        session.messages_in += 1
        self.ingest.submit(Draft(room, session, session.name, text, ref, session.read_at))

    def operator(self, session: Session) -> None:
        """Take in the person at the server's terminal."""
        session.origin = Origin.SERVER
        self._take_name(names.SERVER_NAME, names.SERVER_NAME, session)
        self.enter(session, new_public_id(), self.store.new_identity())

    # Waiting

    def settle(self, session: Session) -> None:
        """Wait until what the session has said is stored and told. May wait."""
        if session.pending:
            self.catch_up(session)

    def catch_up(self, session: Session) -> None:
        """Wait until what anybody has said by now is stored and told, or refused. May wait."""
        signal = session.link.new_signal()
        self.ingest.barrier(signal)
        session.link.wait(signal)
