"""Resuming a session: its new connection takes it over, and it continues where its client stopped.

`take_over` may wait; `resume` MUST NOT switch greenlets.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from chat_protocol.errors import ByeReason, ErrorCode, Refused
from chat_protocol.events import Closed, Opened
from chat_protocol.names import fold
from chat_server.core.chat.hub import Hub
from chat_server.core.chat.rooms import NewRooms
from chat_server.core.delivery.room import Member, Room, Session
from chat_server.core.identity.permissions import CONVERSATION_PREFIX, Action
from chat_server.core.sessions.cursor import Cursor
from chat_server.core.sessions.lifecycle import SessionEvent, SessionState
from chat_server.core.sessions.membership import MembershipEvent
from chat_server.core.sessions.session import REFS_KEPT

MAX_TAKEOVERS: Final = 5
"""How often a resume waits for the previous connection to close; one is normally enough."""


def take_over(hub: Hub, target: Session, claimant: Session) -> bool:
    """Wait until a session has no connection and its refs are loaded; return whether it can be resumed.

    A previous connection that still hangs gets `bye` `replaced`; so does `claimant` if a newer connection
    wants the session, too: a client that retried while the server was busy ends up with its last attempt. May
    wait. Raises `StoreUnavailable`, and `Refused` if the claimant's connection has ended or the previous one
    does not end.
    """
    resumption = target.resumption
    if resumption is None:
        return False
    resumption.newest_claim = max(resumption.newest_claim, claimant.number)
    for _ in range(MAX_TAKEOVERS):
        if claimant.number < resumption.newest_claim:
            claimant.link.close_with_bye(ByeReason.REPLACED)
        if claimant.outbox.closed:  # it has ended during the wait: the session stays held for the next one
            raise Refused(ErrorCode.UNAVAILABLE, "the connection has ended")
        if resumption.refs_to_load:
            refs = hub.log.refs(target.id, REFS_KEPT)
            if resumption.refs_to_load:  # still: no other resume has loaded them
                target.refs = {**refs}
                resumption.refs_to_load = False
        if target.closed or target.held:
            return target.state is SessionState.HELD
        signal = claimant.link.new_signal()
        if resumption.disconnect_signals is None:
            resumption.disconnect_signals = []
        resumption.disconnect_signals.append(signal)
        target.link.close_with_bye(ByeReason.REPLACED)
        claimant.link.wait(signal)
    raise Refused(ErrorCode.UNAVAILABLE, "the session's previous connection is still open; send hello again")


class Resumed(NamedTuple):
    """The rooms that a session continues in, and conversations that its client did not name, with seqs."""

    rooms: list[Room]
    unnamed: list[tuple[Member, int]]


def resume(hub: Hub, target: Session, claimant: Session, positions: Mapping[str, int]) -> Resumed:
    """Attach `target`, which is held, to the connection of `claimant`.

    `positions` are the seqs up to which its client has each room. Its public rooms are joined again;
    conversations are still joined. The caller sends `welcome` with the rooms, then starts the backfill.
    """
    old_cursors: dict[Room, Cursor] = {}
    if target.lagging is not None:
        for membership, cursor in target.lagging.memberships.items():
            old_cursors[membership.room] = cursor
            membership.cursor = None
        target.lagging = None
    claimant.apply(SessionEvent.CLOSE)
    target.apply(SessionEvent.RESUME)
    hub.resumable.stop_holding(target)
    claimant.link.adopt(target)
    hub.sessions[target.id] = target
    hub.stats.opened += 1
    if target.resumption is not None:
        target.resumption.welcome_end = 0
    target.missed_pings = target.refusals = target.messages_in = target.messages_out = target.bytes_out = 0
    target.rtt = None
    target.ping_id, target.ping_sent_at = "", 0.0
    target.read_at = claimant.read_at
    if target.allowance is not None:  # it is its own; that of the address is the one it has come back from
        target.allowance.address = None if claimant.allowance is None else claimant.allowance.address
    target.connected_at = hub.clock.time()

    named = _named_rooms(hub, target, positions)
    conversations = (each.room for each in target.memberships.values() if each.room.is_conversation)
    rooms = sorted(
        dict.fromkeys((*named, *conversations, *old_cursors)), key=lambda room: room.is_conversation
    )
    unnamed = []
    for room in rooms:
        if not room.is_conversation:
            hub.rooms.join(room, target, lagging_after=named[room])
            continue
        membership = _resume_conversation(hub, target, room, named.get(room), old_cursors.get(room))
        if room not in named:
            unnamed.append((membership, membership.position))
    return Resumed(rooms, unnamed)


def _resume_conversation(
    hub: Hub, target: Session, room: Room, position: int | None, old_cursor: Cursor | None
) -> Member:
    """Feed a conversation from where the client stopped; `position`: the seq that it named, if it did."""
    if position is None:
        position = old_cursor.seq if old_cursor is not None else hub.conversations.of(room).opened_seq
    membership = room.members.get(target)
    if membership is not None:
        membership.apply(MembershipEvent.RESUME)
        hub.backfill.fall_behind(target, membership, position)
        return membership
    # It was closed while the session was held, or its client has not received `closed`.
    closed_event = old_cursor.closed_event if old_cursor is not None else None
    if closed_event is None:
        peer = hub.conversations.peer_name(room, target.identity)
        closed_event = Closed(room=room.name, peer=peer, by=peer or target.name)
    return hub.closings.owe_closed(room, target, position, closed_event)


def announce_conversations(hub: Hub, target: Session, rooms: Iterable[Room]) -> None:
    """Let conversations that did not fit into `welcome` begin with `opened`."""
    for room in rooms:
        cursor = room.cursor_of(target)
        if cursor is not None and room.is_conversation:
            peer = hub.room_state(room, target).peer or ""
            conversation = hub.conversations.find(room)
            opener = conversation.opener if conversation is not None else None
            by = opener.name if opener is not None else peer
            cursor.start_with(Opened(room=room.name, peer=peer, by=by, seq=cursor.seq))


def _named_rooms(hub: Hub, target: Session, positions: Mapping[str, int]) -> dict[Room, int]:
    """Return the rooms that a client names and may join, with the seqs up to which it has their messages.

    Of public rooms it may name as many as it may be in; what it names beyond that is not looked at.
    """
    named: dict[Room, int] = {}
    public = _NamedPublicRooms(hub, target.link.address_key)
    conversations = hub.conversations.by_name
    for name, seq in positions.items():
        # First those that do not exist: there may be thousands.
        if (is_conversation := name[:1] == CONVERSATION_PREFIX) and fold(name) not in conversations:
            continue
        try:
            room = hub.require_room(target, Action.READ, name) if is_conversation else public.add(name)
        except Refused:  # the session cannot have been in a room of that name
            continue
        named[room] = min(seq, room.head, named.get(room, seq))
    return named


class _NamedPublicRooms:
    """The public rooms among those that a client names."""

    def __init__(self, hub: Hub, address_key: str) -> None:
        self._rooms = hub.rooms
        self._new = NewRooms(hub.rooms, address_key)
        self._by_key: dict[str, Room] = {}
        self._name_count = 0

    def add(self, name: str) -> Room:
        """Return the room of that name, or raise `Refused`."""
        room = self._by_key.get(fold(name))
        if room is None:
            self._name_count += 1
            self._rooms.check_count(self._name_count)
            room = self._rooms.find_or_make(name)
            self._new.add(room)
            self._by_key[room.key] = room
        return room
