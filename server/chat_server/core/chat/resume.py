"""Resuming a session: its new connection takes it over, and it continues where its client stopped.

`take_over` may wait; `resume` MUST NOT switch greenlets.
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
"""How often a resume waits for the previous connection to close; one is normally enough."""


def take_over(hub: Hub, target: Session, claimant: Session) -> bool:
    """Wait until a session has no connection and its refs are loaded; return whether it can be resumed.

    A previous connection that still hangs gets `bye` `replaced`; so does `claimant` if a newer connection
    wants the session, too: a client that retried while the server was busy ends up with its last attempt. May
    wait. Raises `StoreUnavailable`, and `Refused` if the claimant's connection has ended or the previous one
    does not end.
    """
    target.newest_claim = max(target.newest_claim, claimant.number)
    for _ in range(MAX_TAKEOVERS):
        if claimant.number < target.newest_claim:
            claimant.link.close_with_bye(ByeReason.REPLACED)
        if claimant.outbox.closed:  # it has ended during the wait: the session stays held for the next one
            raise Refused(ErrorCode.UNAVAILABLE, "the connection has ended")
        if target.refs_to_load:
            refs = hub.log.refs(target.id, REFS_KEPT)
            if target.refs_to_load:  # still: no other resume has loaded them
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
    raise Refused(ErrorCode.UNAVAILABLE, "the session's previous connection is still open; send hello again")


class Resumed(NamedTuple):
    """The rooms that a session continues in, and conversations that its client did not name, with seqs."""

    rooms: list[Room]
    unnamed: list[tuple[Room, int]]


def resume(hub: Hub, target: Session, claimant: Session, positions: Mapping[str, int]) -> Resumed:
    """Attach `target`, which is held, to the connection of `claimant`.

    `positions` are the seqs up to which its client has each room. Its public rooms are joined again;
    conversations are still joined. The caller sends `welcome` with the rooms, then starts the backfill.
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
        elif target not in room.members:  # closed while it was held, or its client has not received `closed`
            peer = hub.conversations.peer_name(room, target)
            closed_event = old_cursor.closed_event if old_cursor is not None else None
            cursor.end_with(room, closed_event or Closed(room=room.name, peer=peer, by=peer or target.name))
    return Resumed(rooms, unnamed)


def announce_conversations(hub: Hub, target: Session, rooms: Iterable[Room]) -> None:
    """Let conversations that did not fit into `welcome` begin with `opened`."""
    for room in rooms:
        cursor = cursor_of(target, room)
        if cursor is not None and room.is_conversation:
            peer = hub.room_state(room, target).peer or ""
            by = room.opener.name if room.opener is not None else peer
            cursor.start_with(Opened(room=room.name, peer=peer, by=by, seq=cursor.seq))


def _named_rooms(hub: Hub, target: Session, positions: Mapping[str, int]) -> dict[Room, int]:
    """Return the rooms that a client names and may join, with the seqs up to which it has their messages."""
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
        except Refused:  # the session cannot have been in a room of that name
            continue
        named[room] = min(seq, room.head, named.get(room, seq))
    return named


def _add_public_room(hub: Hub, name: str, chosen: dict[str, Room]) -> Room:
    """Return the public room of that name and add it to `chosen`, or raise `Refused`."""
    room = chosen.get(fold(name))
    if room is None:
        hub.check_room_limit(len(chosen) + 1)
        room = hub.find_or_make_room(name)
        hub.check_new_rooms([*chosen.values(), room])
        chosen[room.key] = room
    return room
