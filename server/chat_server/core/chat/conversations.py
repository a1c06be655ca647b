"""The conversations of all identities: access to them, their limits, and when they are dropped.

What happens in them is in openings.py and closings.py. MUST NOT switch greenlets.
"""

import math
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.base.bucket_table import BucketTable
from chat_server.core.base.limits import Limits
from chat_server.core.base.rate_limit import rounded_up
from chat_server.core.chat.conversation import Conversation
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.room import BOTH, Room, Session, User
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.link import Link
from chat_server.core.ports.registry import NewRoom, StoredRoom

CONVERSATIONS_KEPT: Final = 1000
"""Closed conversations of a user that stay in memory after their other side has left. Those in which the user
said nothing are dropped first: strangers that only say hi do not push out what was a conversation. A dropped
one can still be read: it is looked up in the registry."""

DEPARTED_KEPT: Final = 20_000
"""The same of all users together."""

MAX_CONVERSATIONS: Final = 200_000
"""Conversations in memory, open or closed: about 2 KB each with their members."""

MAX_CANDIDATES: Final = 16
"""Conversations that are considered when one has to be dropped: one whose end is still owed to its user
cannot."""

PER_USER_DIVISOR: Final = 10
"""The part of an address's conversations of an hour that it may begin with one user."""


class Conversations:
    """All conversations, open or closed, of identities that are connected or held.

    One exists until neither identity can return.
    """

    def __init__(
        self,
        identities: Mapping[int, User],
        new_room: Callable[[NewRoom | StoredRoom], Room],
        ingest: Ingest,
        clock: Clock,
        limits: Callable[[], Limits],
    ) -> None:
        self.by_pair: dict[tuple[int, int], Conversation] = {}
        self.by_name: dict[str, Conversation] = {}  # by folded name, once stored
        self._identities = identities
        self._new_room = new_room
        self._ingest = ingest
        self._clock = clock
        self._limits = limits
        self._departed: dict[tuple[int, int], None] = {}  # one of the users has left for good; oldest first
        self._begun = BucketTable()  # by address
        self._begun_with = BucketTable()  # by address and user

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

    def get_or_create(self, user: User, peer: User, link: Link[Session]) -> Conversation:
        """Return the conversation of two users; create it, closed, if there is none. Raises `Refused`.

        `link`: the user's, whose address a new conversation is charged to.
        """
        pair = _pair(user, peer)
        conversation = self.by_pair.get(pair)
        if conversation is None:
            self.check_limit(user)
            if len(self.by_pair) >= MAX_CONVERSATIONS:
                raise Refused(ErrorCode.TOO_MANY, "the server has too many conversations; try again later")
            if all(
                session.lagging is not None and len(session.lagging.memberships) >= CONVERSATIONS_KEPT
                for session in peer.sessions
            ):
                raise Refused(
                    ErrorCode.TOO_MANY, f"{peer.name} is away, and has too many unread conversations"
                )
            address_key = link.address_key
            if address_key:
                self._charge(address_key, peer)
            name = names.conversation_name(user.name, peer.name)
            conversation = self.add(NewRoom(name, names.fold(name), pair))
        return conversation

    def _charge(self, address_key: str, peer: User) -> None:
        """Charge a conversation with `peer` to an address, or raise `Refused` with `retry_after`."""
        now, limit = self._clock.monotonic(), self._limits().rate_conversations
        of_all = (self._begun, address_key, limit)
        of_peer = (self._begun_with, (address_key, peer.id), math.ceil(limit / PER_USER_DIVISOR))
        for table, key, per_hour in (of_all, of_peer):
            wait = table.wait_seconds(key, 1, per_hour, now)
            if wait:
                raise Refused(
                    ErrorCode.RATE_LIMITED,
                    f"too many conversations were begun from your address; wait before one with {peer.name}",
                    retry_after=rounded_up(wait),
                )
        for table, key, per_hour in (of_all, of_peer):
            table.charge(key, 1, per_hour, now)

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
            peer = self.peer(conversation.room, user)
            if not conversation.room.head or peer is None:
                self.forget(conversation)
            else:
                self.note_departed(conversation, peer)
        user.conversations = user.departed = None

    def note_departed(self, conversation: Conversation, user: User) -> None:
        """Note that only `user` may still read a conversation; drop what there is too much of."""
        pair, room = conversation.pair, conversation.room
        has_spoken = room.spoken_by in {BOTH, user.id}
        if user.departed is None:
            user.departed = ({}, {})
        silent, spoken = user.departed
        (spoken if has_spoken else silent)[pair] = self._departed[pair] = None
        while len(silent) + len(spoken) > CONVERSATIONS_KEPT and (
            self._forget_first(silent) or self._forget_first(spoken)
        ):
            pass
        while len(self._departed) > DEPARTED_KEPT and self._forget_first(self._departed):
            pass

    def _forget_first(self, pairs: Mapping[tuple[int, int], None]) -> bool:
        """Drop the first of these conversations whose end its user knows; return False if there is none."""
        for pair in islice(pairs, MAX_CANDIDATES):
            conversation = self.by_pair[pair]
            sides = [side for side in self.sides(conversation.room) if side is not None]
            if all(conversation.room.cursor_of(one) is None for side in sides for one in side.sessions):
                self.forget(conversation)
                return True
        return False

    def forget(self, conversation: Conversation) -> None:
        """Drop a conversation."""
        room = conversation.room
        self._ingest.release_room(room)
        self.by_pair.pop(conversation.pair, None)
        self._departed.pop(conversation.pair, None)
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
