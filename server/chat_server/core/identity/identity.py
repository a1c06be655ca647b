"""An identity: the author of messages, and one side of its conversations. A guest today, an account later.

Names, lists of users, presence and conversations go by identity; what is sent to it goes to its sessions. A
guest has exactly one session, from its `hello` until it ends. MUST NOT switch greenlets.
"""

from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

SessionT = TypeVar("SessionT")


class Identity(Struct, Generic[SessionT], eq=False):
    """A user under a name that nobody else has. `key`: the name, folded."""

    name: str
    key: str
    id: int = 0
    """From the registry, before its first session is active; 0 until then."""
    is_stored: bool = False
    sessions: tuple[SessionT, ...] = ()
    opened_count: int = 0
    """Open conversations that it opened."""
    conversations: dict[tuple[int, int], None] | None = None
    """Pairs of identities: its conversations, open or closed, the oldest first."""
    departed: tuple[dict[tuple[int, int], None], dict[tuple[int, int], None]] | None = None
    """Those of them whose other user has left for good: in which it has said nothing, and the others."""

    def __repr__(self) -> str:
        return f"<Identity {self.name or '-'} {self.id}, {len(self.sessions)} sessions>"

    def add_session(self, session: SessionT) -> None:
        """Add a session that is active or held."""
        self.sessions = (*self.sessions, session)

    def remove_session(self, session: SessionT) -> None:
        """Remove a session that has ended."""
        self.sessions = tuple(one for one in self.sessions if one is not session)

    def add_conversation(self, pair: tuple[int, int]) -> None:
        """Add a conversation."""
        if self.conversations is None:
            self.conversations = {}
        self.conversations[pair] = None

    def remove_conversation(self, pair: tuple[int, int]) -> None:
        """Remove a conversation that nobody can return to."""
        if self.conversations is not None:
            self.conversations.pop(pair, None)
        for pairs in self.departed or ():
            pairs.pop(pair, None)


NOBODY: Final[Identity[Any]] = Identity("", "")
"""The identity of a session that has no name yet."""
