"""The port to the registry of rooms, identities and resumable sessions, and the rows that pass through it.

What is said of rows and of waiting in log.py holds here, too.
"""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct, field

Pair = tuple[int, int]
"""The identities of a conversation, the lower number first."""


class NewRoom(Struct, frozen=True):
    """A room to be stored. `key`: its folded name. `pair` of a conversation; None for a public room."""

    name: str
    key: str
    pair: Pair | None = None


class StoredRoom(Struct, frozen=True):
    """A room as it is stored. `head`: the last seq issued in it; `trimmed`: the last one that was deleted."""

    id: int
    name: str
    key: str
    pair: Pair | None = None
    head: int = 0
    trimmed: int = 0


class EndedRoom(Struct, frozen=True):
    """A public room that has ended. `head`: its last seq, which stays behind under its `key`."""

    id: int
    key: str
    head: int


class IdentityRecord(Struct, frozen=True):
    """The author of messages: a guest session now, an account later."""

    id: int
    name: str
    kind: str = "guest"


class SessionRecord(Struct, frozen=True):
    """A resumable session: its public id, its identity, and the SHA-256 of its secret."""

    id: str
    identity: int
    name: str
    secret_hash: bytes


class StoredConversation(Struct, frozen=True):
    """A conversation as it is stored: its room, the names of both sides, and its state.

    `names` are the last ones of the identities, in the order of `room.pair`. `since` and `closed_by` are as
    in `ConversationRow`; `since` is None if it is closed and both sides know it.
    """

    room: StoredRoom
    names: tuple[str, str]
    since: int | None = None
    closed_by: int | None = None


class RegistryChanges(Struct):
    """What one call of `Registry.write` stores; each list in its order, the lists in theirs.

    `renamed_sessions` have their new names, which their identities get as well. `ended_sessions` are public
    ids of sessions that can no longer be resumed; they are deleted, and need not exist. `ended_rooms`: their
    messages can no longer be read, found or added to; `Log.trim` deletes them. One of `rooms` may have the
    name of an ended one: it has none of its messages, and goes on at the next seq.
    """

    identities: list[IdentityRecord] = field(default_factory=list)
    sessions: list[SessionRecord] = field(default_factory=list)
    renamed_sessions: list[SessionRecord] = field(default_factory=list)
    ended_sessions: list[str] = field(default_factory=list)
    ended_rooms: list[EndedRoom] = field(default_factory=list)
    rooms: list[NewRoom] = field(default_factory=list)


class Registry(Protocol):
    """Rooms, identities and resumable sessions."""

    def public_rooms(self) -> list[StoredRoom]:
        """Return the public rooms that have not ended, first the one that was written to least recently.

        Called once, at start. Raises `StoreUnavailable`.
        """

    def ended_head(self, key: str) -> int:
        """Return the last seq of the public room of this key if it has ended, else 0.

        Does not wait. Raises `StoreUnavailable`.
        """

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return the resumable sessions. Called once, at start. Raises `StoreUnavailable`."""

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
        """Return all conversations, open or closed, of these identities. Called once, at start.

        Other open conversations are stored as closed, since neither of their sides can be resumed. Raises
        `StoreUnavailable`.
        """

    def conversation_named(self, key: str) -> StoredRoom | None:
        """Return the conversation of that folded name, None if there is none.

        May wait. Raises `StoreUnavailable`.
        """

    def new_identity(self) -> int:
        """Return the number of a new identity, which has never been used."""

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        """Store all changes or nothing; return the new rooms as they are stored, in their order. May wait.

        The name of a conversation gets a number, as in `@ann,bob#2`, if others have it already. Identities
        and rooms (by key, conversations by pair) that are stored already stay as they are: so the changes can
        be written again. A room that had ended is in use again, with `head` at its last seq. Raises
        `StoreUnavailable`.
        """
