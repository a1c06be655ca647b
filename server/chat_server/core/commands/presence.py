"""Handlers that list users and servers."""

from chat_protocol.commands import Servers, Who
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import ServerList, ServerState, User, UserList
from chat_protocol.names import fold
from chat_server.core.base.pages import PAGE_ENTRIES, count_fitting, first_page, sorted_page_after
from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Room
from chat_server.core.sessions.session import Session


def who(hub: Hub, session: Session, command: Who) -> None:
    """List the users of a room, or all users."""
    after = fold(command.after) if command.after else ""
    room: Room | None = None
    if command.room is not None and command.room.startswith("@"):
        room = hub.conversations.require_own(command.room, session)
    elif command.room is not None:
        room = hub.rooms.get(fold(command.room))
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


def _users_after(hub: Hub, room: Room | None, after: str) -> tuple[list[Session], bool]:
    """Return a page of the users in a room, or of all, sorted by name; and whether there are more."""
    if room is not None and len(room.members) ** 2 < PAGE_ENTRIES * len(hub.directory):
        # Sorting these few is cheaper than passing over all other users.
        here = {member.key: member for member in room.members if not member.held}
        page, more = sorted_page_after(here, after, PAGE_ENTRIES)
        return [here[key] for key in page], more
    all_sessions = map(hub.directory.__getitem__, hub.directory.keys_after(after))
    if room is None:
        return first_page((one for one in all_sessions if one.id and not one.held), PAGE_ENTRIES)
    return first_page((one for one in all_sessions if one in room.members and not one.held), PAGE_ENTRIES)


def servers(hub: Hub, session: Session, command: Servers) -> None:
    """List the servers: this one."""
    this_server = ServerState(hub.server.node, hub.address, len(hub.sessions), hub.median_rtt_ms())
    session.send(ServerList(servers=[this_server], ref=command.ref))


def _describe_user(session: Session) -> User:
    """Return the list entry of a user: last round trip, time of connecting, messages behind."""
    behind = session.lagging.missing_messages() if session.lagging is not None else 0
    return User(session.name, session.rtt_ms(), round(session.connected_at, 3), behind)
