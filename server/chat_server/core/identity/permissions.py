"""What a session may do: the only permission check. The router's table names the action of each command.

Three rules: a name is needed to use the server; only members send to a public room, and read it; a
conversation is for its two users only, and to others looks as if it did not exist.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from chat_protocol.errors import ErrorCode, Refused

if TYPE_CHECKING:
    from collections.abc import Container

    from chat_server.core.identity.identity import Identity

CONVERSATION_PREFIX: Final = "@"
"""With this the names of conversations begin, and those of public rooms never do."""


class Action(IntEnum):
    """What a command does."""

    CONNECT = 0
    """Come, and go again."""
    USE = 1
    """Use the server, with a name."""
    JOIN = 2
    """Become a member of a room."""
    SEND = 3
    """Send a message to a room."""
    READ = 4
    """Read the messages of a room."""
    LIST = 5
    """See the users in a room."""


# A member of an enum is looked up by a Python function (in Python 3.11): too dear for each message.
_CONNECT, _USE, _JOIN = Action.CONNECT, Action.USE, Action.JOIN


class Actor(Protocol):
    """A session, as far as its permissions depend on it."""

    @property
    def id(self) -> str:
        """Its public id, empty before it has a name."""

    @property
    def identity(self) -> Identity[Any]:
        """Its user."""

    @property
    def memberships(self) -> Container[str]:
        """The keys of the rooms that it is a member of."""


class ProtectedRoom(Protocol):
    """A room, as far as permissions depend on it."""

    @property
    def key(self) -> str:
        """Its folded name."""

    @property
    def pair(self) -> tuple[int, int] | None:
        """The identities of a conversation."""


def may(actor: Actor, action: Action, room: ProtectedRoom | None = None, name: str = "") -> Refused | None:
    """Return None if the actor may do it, else the refusal, to be raised.

    `room`: the room that it is about, None if there is none of the `name` that the actor has given.
    """
    if room is not None and action is not _JOIN and room.key in actor.memberships:
        return None  # the common case first
    if action is _CONNECT:
        return None
    if not actor.id:
        return Refused(ErrorCode.HELLO_FIRST, "send hello first")
    if action is _USE:
        return None
    if name.startswith(CONVERSATION_PREFIX) or (room is not None and room.pair is not None):
        return _may_in_conversation(actor, action, room)
    if action in {Action.SEND, Action.READ}:
        return Refused(ErrorCode.NOT_JOINED, f"you are not in {name[:80]}; join it first")
    return None


def _may_in_conversation(actor: Actor, action: Action, room: ProtectedRoom | None) -> Refused | None:
    if room is None or room.pair is None or actor.identity.id not in room.pair:
        return Refused(ErrorCode.FORBIDDEN, "only the two users of a conversation have access to it")
    if action is _JOIN:
        return Refused(ErrorCode.FORBIDDEN, "a conversation cannot be joined; open it with its other user")
    return None
