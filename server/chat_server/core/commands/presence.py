"""Handlers that list users and servers."""

from chat_protocol.commands import Servers, Who
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import ServerList, ServerState, UserList
from chat_protocol.events import User as UserState
from chat_protocol.names import fold
from chat_server.core.base.pages import PAGE_ENTRIES, count_fitting, sorted_page_after
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.charges import DESCRIBED_PER_TOKEN, EXAMINED_PER_TOKEN, answer, charge
from chat_server.core.delivery.room import Room, Session, User
from chat_server.core.identity.permissions import Action
from chat_server.core.sessions.lifecycle import SessionState

_ACTIVE = SessionState.ACTIVE  # see identity/permissions.py


def who(hub: Hub, session: Session, command: Who) -> None:
    """List the users of a room, or all users."""
    after = fold(command.after) if command.after else ""
    room: Room | None = None
    if command.room is not None:
        room = hub.check_access(session, Action.LIST, command.room)
        if room is None:
            raise Refused(ErrorCode.NO_SUCH_ROOM, f"there is no room {command.room[:80]}")
    page, more, passed = _users_after(hub, room, after)
    users = [_describe_user(one) for one in page]
    lagging = sum(len(one.lagging.memberships) for user in page for one in user.sessions if one.lagging)
    charge(session, (passed + lagging) / EXAMINED_PER_TOKEN + len(page) / DESCRIBED_PER_TOKEN)
    fit = count_fitting(users)
    more = more or fit < len(users)
    answer(
        session,
        UserList(
            users=users[:fit],
            more=more,
            room=room.name if room is not None else None,
            after=users[fit - 1].username if more and fit else None,
            ref=command.ref,
        ),
    )


def _users_after(hub: Hub, room: Room | None, after: str) -> tuple[list[User], bool, int]:
    """Return a page of the users in a room, or of all, sorted by name.

    Also whether there are more, and the number of users that were looked at.
    """
    if room is not None and len(room.members) ** 2 < PAGE_ENTRIES * len(hub.directory):
        # Sorting these few is cheaper than passing over all other users.
        here = {member.identity.key: member.identity for member in room.members if not member.held}
        keys, more = sorted_page_after(here, after, PAGE_ENTRIES)
        return [here[key] for key in keys], more, len(room.members)
    page: list[User] = []
    passed = 0
    for passed, key in enumerate(hub.directory.keys_after(after), 1):
        user = hub.directory[key]
        if _sessions_in(user, room):
            if len(page) == PAGE_ENTRIES:
                return page, True, passed
            page.append(user)
    return page, False, passed


def _sessions_in(user: User, room: Room | None) -> list[Session]:
    """Return the connected sessions of a user, or those of them that are in a room."""
    return [
        one
        for one in user.sessions
        if (one.state is _ACTIVE or not one.held) and (room is None or one in room.members)
    ]


def servers(hub: Hub, session: Session, command: Servers) -> None:
    """List the servers: this one."""
    this_server = ServerState(hub.server.node, hub.address, len(hub.sessions), hub.median_rtt_ms())
    answer(session, ServerList(servers=[this_server], ref=command.ref))


def _describe_user(user: User) -> UserState:
    """Return the list entry of a user: least round trip, earliest time of connecting, messages behind."""
    sessions = _sessions_in(user, None)
    if len(sessions) == 1 and sessions[0].lagging is None:  # most users of a long list
        return UserState(user.name, sessions[0].rtt_ms(), round(sessions[0].connected_at, 3))
    round_trips = [rtt_ms for one in sessions if (rtt_ms := one.rtt_ms()) is not None]
    behind = max((one.lagging.missing_messages() for one in sessions if one.lagging is not None), default=0)
    since = min(one.connected_at for one in sessions)
    return UserState(user.name, min(round_trips, default=None), round(since, 3), behind)
