"""A session that comes back: its seat is given to a new connection, and it goes on where its client stands.

Knows seats, rooms and cursors. Must not know the command (commands/sessions.py). `vacate` may wait; `resume`
MUST NOT switch.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Closed, Opened
from chat_protocol.names import fold
from chat_server.core.chat.conversations import cursor_of
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Room
from chat_server.core.sessions.session import REFS_KEPT, Session

TAKEOVERS: Final = 5
"""Times that a resume waits for another connection of the session to leave; once is enough, by rights."""


def vacate(hub: Hub, seat: Session, session: Session) -> bool:
    """Wait until a session has no connection and its refs are known; tell whether it can be resumed.

    An old connection that still hangs gets `bye` `replaced`, and so does this one if a newer one asks, too: a
    client that tries again and again, while the server cannot listen, is to end up with its last try. May
    wait; raises `StoreUnavailable`, and `Refused` when there is nobody left to resume for.
    """
    seat.claimant = max(seat.claimant, session.number)
    for _ in range(TAKEOVERS):
        if session.number < seat.claimant:
            session.link.end(ByeReason.REPLACED)
        if session.outbox.shut:  # it has ended while it waited: the seat stays for the next one
            raise Refused(ErrorCode.UNAVAILABLE, "the connection has ended")
        if seat.refs_stored:
            refs = hub.store.refs(seat.id, REFS_KEPT)
            if seat.refs_stored:  # still: nobody else was quicker
                seat.refs = dict(refs)
                seat.refs_stored = False
        if seat.closed or seat.away:
            return not (seat.closed or seat.for_good)
        signal = session.link.new_signal()
        if seat.leaving is None:
            seat.leaving = []
        seat.leaving.append(signal)
        seat.link.end(ByeReason.REPLACED)
        session.link.wait(signal)
    raise Refused(ErrorCode.UNAVAILABLE, "the session's other connection does not end; say hello again")


class Resumed(NamedTuple):
    """Where a session goes on: its rooms, and the conversations that its client did not name, with seqs."""

    rooms: list[Room]
    unnamed: list[tuple[Room, int]]


def resume(hub: Hub, seat: Session, session: Session, stands: Mapping[str, int]) -> Resumed:
    """Let `seat`, which is away, go on over the connection of `session`.

    `stands` says by room how far its client has come. Public rooms in it are entered again, conversations
    come by themselves. The caller welcomes the session, which tells it of those, then lets the feeder start.
    """
    told = dict(seat.behind.cursors) if seat.behind is not None else {}
    seat.behind = None
    session.closed = True
    seat.away = False
    hub.seats.take(seat)
    session.link.adopt(seat)
    hub.sessions[seat.id] = seat
    hub.stats.opened += 1
    seat.welcomed_at = 0
    seat.unanswered = seat.refusals = seat.messages_in = seat.messages_out = seat.bytes_out = 0
    seat.rtt = None
    seat.ping_id, seat.ping_at = "", 0.0
    seat.read_at = session.read_at
    seat.since = hub.clock.time()

    given = _given(hub, seat, stands)
    talks = (room for room in seat.rooms.values() if room.is_conversation)
    rooms = sorted(dict.fromkeys((*given, *talks, *told)), key=lambda room: room.is_conversation)
    unnamed = []
    for room in rooms:
        old = told.get(room)
        cursor = hub.feeder.cursor(seat, room, given.get(room, old.seq if old is not None else room.since))
        if room.is_conversation and room not in given:
            unnamed.append((room, cursor.seq))
        if not room.is_conversation:
            hub.join(room, seat, behind=True)
        elif seat not in room.members:  # closed meanwhile, or its client has not heard that it was
            peer = hub.conversations.peer_name(room, seat)
            news = old.last if old is not None else None
            cursor.end(room, news or Closed(room=room.name, peer=peer, by=peer or seat.name))
    return Resumed(rooms, unnamed)


def announce(hub: Hub, seat: Session, rooms: Iterable[Room]) -> None:
    """Let conversations for which `welcome` had no place begin with `opened`."""
    for room in rooms:
        cursor = cursor_of(seat, room)
        if cursor is not None and room.is_conversation:
            peer = hub.state(room, seat).peer or ""
            by = room.opener.name if room.opener is not None else peer
            cursor.begin(Opened(room=room.name, peer=peer, by=by, seq=cursor.seq))


def _given(hub: Hub, seat: Session, stands: Mapping[str, int]) -> dict[Room, int]:
    """Return the rooms that a client names and may be in, and up to which seq it has their messages."""
    given: dict[Room, int] = {}
    public: dict[str, Room] = {}
    for name, seq in stands.items():
        try:
            private = name.startswith("@")
            room = hub.conversations.own(name, seat) if private else _public(hub, name, public)
        except Refused:  # it can be no room of this session: it is in none of that name
            continue
        given[room] = min(seq, room.head, given.get(room, seq))
    return given


def _public(hub: Hub, name: str, chosen: dict[str, Room]) -> Room:
    """Return the public room of that name and add it to those chosen, or raise `Refused`."""
    room = chosen.get(fold(name))
    if room is None:
        hub.check_room_limit(len(chosen) + 1)
        room = hub.room(name)
        hub.check_rooms([*chosen.values(), room])
        chosen[room.key] = room
    return room
