"""The conversations of all identities: access to them, their limits, and when they are dropped.

What happens in them is in openings.py and closings.py. MUST NOT switch greenlets.
"""

from collections.abc import Callable, Mapping
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.base.limits import Limits
from chat_server.core.chat.conversation import Conversation
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.room import Room, User
from chat_server.core.ports.registry import NewRoom, StoredRoom

CONVERSATIONS_KEPT: Final = 1000
"""Closed conversations of a user that stay readable after their other side has left."""


class Conversations:
    """All conversations, open or closed, of identities that are connected or held.

    One exists until neither identity can return.
    """

    def __init__(
        self,
        identities: Mapping[int, User],
        new_room: Callable[[NewRoom | StoredRoom], Room],
        ingest: Ingest,
        limits: Callable[[], Limits],
    ) -> None:
        self.by_pair: dict[tuple[int, int], Conversation] = {}
        self.by_name: dict[str, Conversation] = {}  # by folded name, once stored
        self._identities = identities
        self._new_room = new_room
        self._ingest = ingest
        self._limits = limits

    def find(self, room: Room) -> Conversation | None:
        """Return the conversation of a room, None if it has been dropped."""
        return None if room.pair is None else self.by_pair.get(room.pair)

    def of(self, room: Room) -> Conversation:
        """Return the conversation of a room that has members."""
        assert room.pair is not None
        return self.by_pair[room.pair]

    def between(self, one: User, other: User) -> Conversation | None:
        """Return the conversation of two users, None if there is none."""
        return self.by_pair.get(_pair(one, other))

    def get_or_create(self, user: User, peer: User) -> Conversation:
        """Return the conversation of two users; create it, closed, if there is none. Raises `Refused`."""
        pair = _pair(user, peer)
        conversation = self.by_pair.get(pair)
        if conversation is None:
            self.check_limit(user)
            if all(
                session.held
                and session.lagging is not None
                and len(session.lagging.memberships) >= CONVERSATIONS_KEPT
                for session in peer.sessions
            ):
                raise Refused(
                    ErrorCode.TOO_MANY, f"{peer.name} is away, and has too many unread conversations"
                )
            name = names.conversation_name(user.name, peer.name)
            conversation = self.add(NewRoom(name, names.fold(name), pair))
            for side in (user, peer):
                if side.conversations is not None and len(side.conversations) > CONVERSATIONS_KEPT:
                    self._forget_oldest(side)
        return conversation

    def add(self, row: NewRoom | StoredRoom) -> Conversation:
        """Return a new conversation, closed."""
        conversation = Conversation(self._new_room(row))
        pair = conversation.pair
        self.by_pair[pair] = conversation
        for side in self.sides(conversation.room):
            if side is not None:
                side.add_conversation(pair)
        return conversation

    def sides(self, room: Room) -> tuple[User | None, User | None]:
        """Return the two users of a conversation's room; None for one that has left for good."""
        assert room.pair is not None
        low, high = room.pair
        return self._identities.get(low), self._identities.get(high)

    def peer(self, room: Room, user: User) -> User | None:
        """Return the other side, None if it has left for good."""
        assert room.pair is not None
        first, second = room.pair
        return self._identities.get(second if first == user.id else first)

    def peer_name(self, room: Room, user: User) -> str:
        """Return the current name of the other side, empty if it has left for good."""
        peer = self.peer(room, user)
        return peer.name if peer is not None else ""

    def forget_conversations_of(self, user: User) -> None:
        """Drop conversations of an identity that cannot return; keep those that the other side may read."""
        for pair in list(user.conversations or ()):
            conversation = self.by_pair[pair]
            if not conversation.room.head or self.peer(conversation.room, user) is None:
                self.forget(conversation)
        user.conversations = None

    def _forget_oldest(self, user: User) -> None:
        """Drop the oldest conversation whose other side has left: a long-running bot meets many users."""
        for pair in user.conversations or ():
            conversation = self.by_pair[pair]
            room = conversation.room
            if (
                room.head
                and self.peer(room, user) is None
                and all(room.cursor_of(session) is None for session in user.sessions)
            ):
                self.forget(conversation)
                return

    def forget(self, conversation: Conversation) -> None:
        """Drop a conversation."""
        room = conversation.room
        self._ingest.release_room(room)
        self.by_pair.pop(conversation.pair, None)
        if self.by_name.get(room.key) is conversation:
            del self.by_name[room.key]  # one that was never stored may share its name with another
        for side in self.sides(room):
            if side is not None:
                side.remove_conversation(conversation.pair)

    def check_limit(self, user: User) -> None:
        """Raise `Refused` if a user may not open another conversation."""
        limit = self._limits().max_conversations
        if user.opened_count >= limit > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you have {limit} open conversations; close one first")


def _pair(one: User, other: User) -> tuple[int, int]:
    return (one.id, other.id) if one.id < other.id else (other.id, one.id)
