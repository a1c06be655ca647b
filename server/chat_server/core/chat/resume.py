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

MAX_TAKEOVERS: Final = 5
"""Times that a resume waits for another connection of the session to leave; once is enough, by rights."""


def take_over(hub: Hub, target: Session, claimant: Session) -> bool:
    """Wait until a session has no connection and its refs are known; tell whether it can be resumed.

    An old connection that still hangs gets `bye` `replaced`, and so does this one if a newer one asks, too: a
    client that tries again and again, while the server cannot listen, is to end up with its last try. May
    wait; raises `StoreUnavailable`, and `Refused` when there is nobody left to resume for.
    """
    target.newest_claim = max(target.newest_claim, claimant.number)
    for _ in range(MAX_TAKEOVERS):
        if claimant.number < target.newest_claim:
            claimant.link.close_with_bye(ByeReason.REPLACED)
        if claimant.outbox.closed:  # it has ended while it waited: the seat stays for the next one
            raise Refused(ErrorCode.UNAVAILABLE, "the connection has ended")
        if target.refs_to_load:
            refs = hub.store.refs(target.id, REFS_KEPT)
            if target.refs_to_load:  # still: nobody else was quicker
                target.refs = dict(refs)
                target.refs_to_load = False
        if target.closed or target.held:
            return not (target.closed or target.for_good)
        signal = claimant.link.new_signal()
        if target.disconnect_signals is None:
            target.disconnect_signals = []
        target.disconnect_signals.append(signal)
        target.link.close_with_bye(ByeReason.REPLACED)
        claimant.link.wait(signal)
    raise Refused(ErrorCode.UNAVAILABLE, "the session's other connection does not end; say hello again")


class Resumed(NamedTuple):
    """Where a session goes on: its rooms, and the conversations that its client did not name, with seqs."""

    rooms: list[Room]
    unnamed: list[tuple[Room, int]]


def resume(hub: Hub, target: Session, claimant: Session, positions: Mapping[str, int]) -> Resumed:
    """Let `seat`, which is away, go on over the connection of `session`.

    `stands` says by room how far its client has come. Public rooms in it are entered again, conversations
    come by themselves. The caller welcomes the session, which tells it of those, then lets the feeder start.
    """
    old_cursors = dict(target.lagging.cursors) if target.lagging is not None else {}
    target.lagging = None
    claimant.closed = True
    target.held = False
    hub.resumable.stop_holding(target)
    claimant.link.adopt(target)
    hub.sessions[target.id] = target
    hub.stats.opened += 1
    target.welcome_end = 0
    target.missed_pings = target.refusals = target.messages_in = target.messages_out = target.bytes_out = 0
    target.rtt = None
    target.ping_id, target.ping_sent_at = "", 0.0
    target.read_at = claimant.read_at
    target.connected_at = hub.clock.time()

    named = _named_rooms(hub, target, positions)
    conversations = (room for room in target.rooms.values() if room.is_conversation)
    rooms = sorted(
        dict.fromkeys((*named, *conversations, *old_cursors)), key=lambda room: room.is_conversation
    )
    unnamed = []
    for room in rooms:
        old_cursor = old_cursors.get(room)
        cursor = hub.backfill.fall_behind(
            target, room, named.get(room, old_cursor.seq if old_cursor is not None else room.opened_seq)
        )
        if room.is_conversation and room not in named:
            unnamed.append((room, cursor.seq))
        if not room.is_conversation:
            hub.join_room(room, target, lagging=True)
        elif target not in room.members:  # closed meanwhile, or its client has not heard that it was
            peer = hub.conversations.peer_name(room, target)
            closed_event = old_cursor.closed_event if old_cursor is not None else None
            cursor.end_with(room, closed_event or Closed(room=room.name, peer=peer, by=peer or target.name))
    return Resumed(rooms, unnamed)


def announce_conversations(hub: Hub, target: Session, rooms: Iterable[Room]) -> None:
    """Let conversations for which `welcome` had no place begin with `opened`."""
    for room in rooms:
        cursor = cursor_of(target, room)
        if cursor is not None and room.is_conversation:
            peer = hub.room_state(room, target).peer or ""
            by = room.opener.name if room.opener is not None else peer
            cursor.start_with(Opened(room=room.name, peer=peer, by=by, seq=cursor.seq))


def _named_rooms(hub: Hub, target: Session, positions: Mapping[str, int]) -> dict[Room, int]:
    """Return the rooms that a client names and may be in, and up to which seq it has their messages."""
    named: dict[Room, int] = {}
    public: dict[str, Room] = {}
    for name, seq in positions.items():
        try:
            private = name.startswith("@")
            room = (
                hub.conversations.require_own(name, target)
                if private
                else _add_public_room(hub, name, public)
            )
        except Refused:  # it can be no room of this session: it is in none of that name
            continue
        named[room] = min(seq, room.head, named.get(room, seq))
    return named


def _add_public_room(hub: Hub, name: str, chosen: dict[str, Room]) -> Room:
    """Return the public room of that name and add it to those chosen, or raise `Refused`."""
    room = chosen.get(fold(name))
    if room is None:
        hub.check_room_limit(len(chosen) + 1)
        room = hub.find_or_make_room(name)
        hub.check_new_rooms([*chosen.values(), room])
        chosen[room.key] = room
    return room
