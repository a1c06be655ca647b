"""Who is here, and which servers there are."""

from chat_protocol.commands import Servers, Who
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import ServerList, ServerState, User, UserList
from chat_protocol.names import fold
from chat_server.core.base.pages import LIST_PAGE, first, fitting, following
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Room
from chat_server.core.sessions.session import Session


def who(hub: Hub, session: Session, command: Who) -> None:
    """List the users of a room, or all that are connected."""
    after = fold(command.after) if command.after else ""
    room: Room | None = None
    if command.room is not None and command.room.startswith("@"):
        room = hub.conversations.own(command.room, session)
    elif command.room is not None:
        room = hub.rooms.get(fold(command.room))
        if room is None:
            raise Refused(ErrorCode.NO_SUCH_ROOM, f"there is no room {command.room[:80]}")
    page, more = _following(hub, room, after)
    users = [_user(one) for one in page]
    fit = fitting(users)
    more = more or fit < len(users)
    session.send(
        UserList(
            users=users[:fit],
            more=more,
            room=room.name if room is not None else None,
            after=users[fit - 1].username if more and fit else None,
            ref=command.ref,
        )
    )


def _following(hub: Hub, room: Room | None, after: str) -> tuple[list[Session], bool]:
    """Return a page of those in a room, or of all, by name; and whether there are more."""
    if room is not None and len(room.members) ** 2 < LIST_PAGE * len(hub.names):
        # To sort these few costs less than to pass over all the others.
        here = {member.key: member for member in room.members if not member.away}
        page, more = following(here, after, LIST_PAGE)
        return [here[key] for key in page], more
    everybody = map(hub.names.__getitem__, hub.names.following(after))
    if room is None:
        return first((one for one in everybody if one.id and not one.away), LIST_PAGE)
    return first((one for one in everybody if one in room.members and not one.away), LIST_PAGE)


def servers(hub: Hub, session: Session, command: Servers) -> None:
    """List the servers: so far this one."""
    own = ServerState(hub.server.node, hub.address, len(hub.sessions), hub.median_rtt())
    session.send(ServerList(servers=[own], ref=command.ref))


def _user(session: Session) -> User:
    """Describe a user: last round trip, connected since when, and how far behind."""
    behind = session.behind.missing() if session.behind is not None else 0
    return User(session.name, session.rtt_ms(), round(session.since, 3), behind)
