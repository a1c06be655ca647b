"""Rows that pass between the core and the store: rooms, identities, sessions, conversations.

Pure values: no live object of the core, no SQL.
"""

from enum import StrEnum

from msgspec import Struct, field


class Origin(StrEnum):
    """Where a message was written: by a client, or at the server's console."""

    CLIENT = "client"
    SERVER = "server"


class RoomRecord(Struct, eq=False):
    """A stored room. `id` is 0 until it is stored; `seq` is the last one issued.

    A conversation has the pair of its identities (lower first) and, until it is stored, a provisional name.
    """

    name: str
    key: str
    id: int = 0
    seq: int = 0
    pair: tuple[int, int] | None = None
    queued: bool = False


class IdentityRecord(Struct, eq=False):
    """The author of messages: a guest session now, an account later."""

    id: int
    name: str
    kind: str = "guest"


class SessionRecord(Struct, eq=False):
    """A resumable session: its public id, its identity, and the SHA-256 of its secret."""

    id: str
    identity: int
    name: str
    secret_hash: bytes


class ConversationState(Struct, eq=False):
    """The state of a conversation: open since seq `since`, or, if that is None, closed.

    With `closed_by` it was closed by that identity, and the other side has not received the closing yet, nor
    the messages after `since`.
    """

    room: RoomRecord
    since: int | None
    closed_by: int | None = None


class StoredConversation(Struct, eq=False):
    """A conversation as the store returns it: its room, the names of both sides, and its state.

    `names` are the last ones of the identities, in the order of `room.pair`. `since` and `closed_by` are as
    in `ConversationState`; `since` is None if it is closed and both sides know it.
    """

    room: RoomRecord
    names: tuple[str, str]
    since: int | None = None
    closed_by: int | None = None


class RegistryChanges(Struct, eq=False):
    """What a batch writes besides its messages, and before them; each list in its order.

    `renamed_sessions` have their new names, which their identities get as well. `ended_sessions` are public
    ids of sessions that can no longer be resumed; the store deletes them.
    """

    rooms: list[RoomRecord] = field(default_factory=list)
    identities: list[IdentityRecord] = field(default_factory=list)
    sessions: list[SessionRecord] = field(default_factory=list)
    renamed_sessions: list[SessionRecord] = field(default_factory=list)
    ended_sessions: list[str] = field(default_factory=list)
    conversation_states: list[ConversationState] = field(default_factory=list)
