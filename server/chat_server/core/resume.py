"""A session that comes back: its seat is given to a new connection, and it goes on where its client stands.

Knows seats, rooms and cursors. Must not know the command (commands/entry.py). `vacate` may wait; `resume`
MUST NOT switch.
"""

from collections.abc import Mapping
from typing import Final

from chat_protocol.errors import ByeReason, Refused
from chat_protocol.events import Closed, RoomState
from chat_server.core.hub import Hub
from chat_server.core.room import Room
from chat_server.core.session import REFS_KEPT, Session

TAKEOVERS: Final = 5
"""Times that a resume waits for another connection of the same session to leave: two clients with one secret
could go on for ever."""


def vacate(hub: Hub, seat: Session, session: Session) -> bool:
    """Wait until a session has no connection and its refs are known; tell whether it can be resumed.

    An old connection that still hangs gets `bye` `replaced`. May wait; raises `StoreUnavailable`.
    """
    for _ in range(TAKEOVERS):
        if seat.refs_stored:
            refs = hub.store.refs(seat.id, REFS_KEPT)
            if seat.refs_stored:  # still: nobody else was quicker
                seat.refs = dict(refs)
                seat.refs_stored = False
        if seat.closed or seat.away:
            return not seat.closed
        signal = session.link.new_signal()
        if seat.leaving is None:
            seat.leaving = []
        seat.leaving.append(signal)
        seat.link.end(ByeReason.REPLACED)
        session.link.wait(signal)
    return False


def resume(hub: Hub, seat: Session, session: Session, stands: Mapping[str, int]) -> list[RoomState]:
    """Let `seat`, which is away, go on over the connection of `session`; return where it stands in its rooms.

    `stands` says by room how far its client has come. Public rooms in it are entered again, conversations
    come by themselves. The caller welcomes the session, then lets the feeder start.
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

    given = _given(hub, seat, stands)
    talks = (room for room in seat.rooms.values() if room.is_conversation)
    rooms = list(dict.fromkeys((*given, *talks, *told)))
    for room in rooms:
        old = told.get(room)
        cursor = hub.feeder.cursor(seat, room, given.get(room, old.seq if old is not None else room.since))
        if not room.is_conversation:
            hub.join(room, seat, behind=True)
        elif seat not in room.members:  # closed meanwhile, or its client has not heard that it was
            peer = hub.conversations.peer_name(room, seat)
            news = old.last if old is not None else None
            cursor.end(room, news or Closed(room=room.name, peer=peer, by=peer or seat.name))
    return [hub.state(room, seat) for room in rooms]


def _given(hub: Hub, seat: Session, stands: Mapping[str, int]) -> dict[Room, int]:
    """Return the rooms that a client names and may be in, and up to which seq it has their messages."""
    given: dict[Room, int] = {}
    public = 0
    for name, seq in stands.items():
        try:
            room = hub.conversations.own(name, seat) if name.startswith("@") else hub.room(name)
        except Refused:  # it can be no room of this session: it is in none of that name
            continue
        if not room.is_conversation and room not in given:
            public += 1
            if public > hub.limits.max_rooms > 0:
                continue
        given[room] = min(seq, room.head, given.get(room, seq))
    return given
