"""Handlers that list users and servers."""

from chat_protocol.commands import Servers, Who
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import ServerList, ServerState, UserList
from chat_protocol.events import User as UserState
from chat_protocol.names import fold
from chat_server.core.base.pages import PAGE_ENTRIES, count_fitting, first_page, sorted_page_after
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Room, Session, User
from chat_server.core.identity.permissions import Action


def who(hub: Hub, session: Session, command: Who) -> None:
    """List the users of a room, or all users."""
    after = fold(command.after) if command.after else ""
    room: Room | None = None
    if command.room is not None:
        room = hub.check_access(session, Action.LIST, command.room)
        if room is None:
            raise Refused(ErrorCode.NO_SUCH_ROOM, f"there is no room {command.room[:80]}")
    page, more = _users_after(hub, room, after)
    users = [_describe_user(one) for one in page]
    fit = count_fitting(users)
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


def _users_after(hub: Hub, room: Room | None, after: str) -> tuple[list[User], bool]:
    """Return a page of the users in a room, or of all, sorted by name; and whether there are more."""
    if room is not None and len(room.members) ** 2 < PAGE_ENTRIES * len(hub.directory):
        # Sorting these few is cheaper than passing over all other users.
        here = {member.identity.key: member.identity for member in room.members if not member.held}
        page, more = sorted_page_after(here, after, PAGE_ENTRIES)
        return [here[key] for key in page], more
    users = map(hub.directory.__getitem__, hub.directory.keys_after(after))
    return first_page((user for user in users if _sessions_in(user, room)), PAGE_ENTRIES)


def _sessions_in(user: User, room: Room | None) -> list[Session]:
    """Return the connected sessions of a user, or those of them that are in a room."""
    return [one for one in user.sessions if not one.held and (room is None or one in room.members)]


def servers(hub: Hub, session: Session, command: Servers) -> None:
    """List the servers: this one."""
    this_server = ServerState(hub.server.node, hub.address, len(hub.sessions), hub.median_rtt_ms())
    session.send(ServerList(servers=[this_server], ref=command.ref))


def _describe_user(user: User) -> UserState:
    """Return the list entry of a user: least round trip, earliest time of connecting, messages behind."""
    sessions = _sessions_in(user, None)
    round_trips = [rtt_ms for one in sessions if (rtt_ms := one.rtt_ms()) is not None]
    behind = max((one.lagging.missing_messages() for one in sessions if one.lagging is not None), default=0)
    since = min(one.connected_at for one in sessions)
    return UserState(user.name, min(round_trips, default=None), round(since, 3), behind)
