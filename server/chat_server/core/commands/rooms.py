"""Handlers of public rooms: join, leave, list; and history of any room."""

from chat_protocol.commands import History, Join, Leave, Rooms, Switch
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import HistoryPage, Joined, Left, MessageEvent, RoomList, RoomState
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.names import fold
from chat_server.core.base.pages import PAGE_ENTRIES, count_fitting, first_page
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.charges import STORED_PAGE_TOKENS, answer, charge
from chat_server.core.delivery.room import Room, Session
from chat_server.core.identity.permissions import Action
from chat_server.core.ports.log import UNBOUNDED_BYTES, StoreUnavailable


def join(hub: Hub, session: Session, command: Join) -> None:
    """Join a room; a member gets its position again."""
    room = _enter_room(hub, session, command.room)
    session.send(
        Joined(room=room.name, seq=room.position_of(session), count=room.user_count, ref=command.ref)
    )


def leave(hub: Hub, session: Session, command: Leave) -> None:
    """Leave a room, once the session's messages are stored and it has received the room's."""
    room = _require_leavable(session, command.room)
    hub.wait_own_delivered(session)
    hub.wait_caught_up(session, room)
    if session.closed:
        return
    room = _require_leavable(session, command.room)
    hub.rooms.leave(room, session)
    session.send(Left(room=room.name, ref=command.ref))


def switch(hub: Hub, session: Session, command: Switch) -> None:
    """Plain text: leave the current room and join another."""
    hub.wait_own_delivered(session)
    old_membership = session.memberships.get(session.default_room)
    old = None if old_membership is None else old_membership.room
    if old is not None:
        hub.wait_caught_up(session, old)
    if session.closed:
        return
    room = _enter_room(hub, session, command.room, leaving=old)
    if old is not None and old is not room:
        hub.rooms.leave(old, session)
    session.default_room = room.key
    session.send(
        Joined(room=room.name, seq=room.position_of(session), count=room.user_count, ref=command.ref)
    )


def list_rooms(hub: Hub, session: Session, command: Rooms) -> None:
    """List the public rooms that have members or messages."""
    after = fold(command.after) if command.after else ""
    known = map(hub.rooms.__getitem__, hub.rooms.keys_after(after))
    page, more = first_page((room for room in known if room.members or room.head), PAGE_ENTRIES)
    states = [RoomState(room.name, room.head, room.user_count) for room in page]
    fit = count_fitting(states)
    more = more or fit < len(states)
    last = states[fit - 1].room if more and fit else None
    answer(session, RoomList(rooms=states[:fit], more=more, after=last, ref=command.ref))


def history(hub: Hub, session: Session, command: History) -> None:
    """Read messages of a room before or after a seq; the newest if neither is given."""
    room = hub.require_readable(session, command.room)
    if command.before is not None and command.after is not None:
        raise Refused(ErrorCode.INVALID_FIELD, "history has either before or after, not both")
    forward = command.after is not None
    messages = read_messages(
        hub,
        session,
        room,
        before=command.before,
        after=command.after,
        limit=command.limit,
        size=MAX_FRAME_BYTES,
    )
    if session.closed:
        return
    if forward:
        messages = messages[: count_fitting(messages)]
        more = messages[-1].seq < room.head if messages else False
    else:
        messages = messages[len(messages) - count_fitting(messages[::-1]) :]
        more = messages[0].seq > 1 if messages else False
    answer(
        session,
        HistoryPage(
            room=room.name,
            messages=messages,
            more=more,
            after=messages[-1].seq if more and forward else None,
            before=messages[0].seq if more and not forward else None,
            ref=command.ref,
        ),
    )


def read_messages(
    hub: Hub,
    session: Session,
    room: Room,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int,
    size: int = UNBOUNDED_BYTES,
) -> list[MessageEvent]:
    """Return messages of a room up to its head, from the tail, or for a charge from the store. May wait."""
    upper = room.head + 1 if before is None else min(before, room.head + 1)
    lower = after or 0
    newest = after is None
    if lower + 1 >= upper:
        return []
    found = room.read_tail(lower, upper, limit, newest=newest)
    if found is not None:
        return found
    charge(session, STORED_PAGE_TOKENS)
    try:
        return hub.log.read(room.id, room.name, lower, upper, limit, newest=newest, size=size)
    except StoreUnavailable as error:
        raise Refused(ErrorCode.UNAVAILABLE, f"message store unavailable: {error}") from error


def _enter_room(hub: Hub, session: Session, name: str, *, leaving: Room | None = None) -> Room:
    hub.check_access(session, Action.JOIN, name)
    room = hub.rooms.find_or_make(name)
    if session not in room.members:
        others = (each.room for each in session.memberships.values() if each.room is not leaving)
        hub.rooms.check_count(sum(not other.is_conversation for other in others) + 1)
        hub.rooms.check_new([room], session.link.address_key)
        room = hub.rooms.join(room, session)
    return room


def _require_leavable(session: Session, name: str) -> Room:
    """Return the public room that the session is to leave, or raise `Refused`."""
    membership = session.memberships.get(fold(name))
    if membership is None:
        raise Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}")
    if membership.room.is_conversation:
        raise Refused(ErrorCode.INVALID_FIELD, "a conversation cannot be left; close it")
    return membership.room
