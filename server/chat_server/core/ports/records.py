"""Rows that pass between the core and the store: rooms, identities, sessions, conversations.

Pure values: no live object of the core, and no SQL.
"""

from enum import StrEnum

from msgspec import Struct, field


class Origin(StrEnum):
    """Where a message was written."""

    CLIENT = "client"
    SERVER = "server"


class RoomRecord(Struct, eq=False):
    """A room as the store knows it. `id` is 0 until the store has it; `seq` is the last one given out.

    A conversation has the pair of its identities (lower first) and, until it is stored, a provisional name.
    """

    name: str
    key: str
    id: int = 0
    seq: int = 0
    pair: tuple[int, int] | None = None
    queued: bool = False


class IdentityRecord(Struct, eq=False):
    """Who writes: a guest session now, an account later."""

    id: int
    name: str
    kind: str = "guest"


class SessionRecord(Struct, eq=False):
    """A session that may be resumed: its public id, whose it is, and the SHA-256 of its secret."""

    id: str
    identity: int
    name: str
    secret_hash: bytes


class ConversationState(Struct, eq=False):
    """A conversation that is open since `seq`; with `seq` None it is not open any more.

    With `closed_by` it is closed, by that identity, and the other side has still to be told: of that, and of
    what was said since `seq`.
    """

    room: RoomRecord
    since: int | None
    closed_by: int | None = None


class StoredConversation(Struct, eq=False):
    """A conversation as the store gives it back: its room, the names of both sides, and how it stands.

    `names` are those that the identities had last, in the order of `room.pair`. `since` is the seq after
    which it was opened, None where it is closed and everybody knows; `closed_by` as in `Standing`.
    """

    room: RoomRecord
    names: tuple[str, str]
    since: int | None = None
    closed_by: int | None = None


class RegistryChanges(Struct, eq=False):
    """What a batch writes beside messages, and before them; each list in its order.

    `renamed` are sessions under their new names (the identity takes it, too). `ended` are public ids of
    sessions that cannot be resumed any more: the store forgets them.
    """

    rooms: list[RoomRecord] = field(default_factory=list)
    identities: list[IdentityRecord] = field(default_factory=list)
    sessions: list[SessionRecord] = field(default_factory=list)
    renamed_sessions: list[SessionRecord] = field(default_factory=list)
    ended_sessions: list[str] = field(default_factory=list)
    conversation_states: list[ConversationState] = field(default_factory=list)
