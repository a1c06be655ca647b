"""An engine in memory: nothing survives the process, and each room keeps its newest messages only.

`epoch` is new at each start, so that no client confuses its seqs with those of another run. It keeps nothing
that only the next start would read: identities, sessions, states of conversations.
"""

import secrets
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, Final

from msgspec import structs

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import UNBOUNDED_BYTES, Appended, ConversationRow, NewMessage, StoredAt
from chat_server.core.ports.registry import (
    NewRoom,
    Pair,
    RegistryChanges,
    SessionRecord,
    StoredConversation,
    StoredRoom,
)

TRIM_STEP_MESSAGES: Final = 500
"""Maximum of messages deleted by one `trim`."""


class MemoryEngine:
    """Keeps the last `messages_per_room` messages of each room. `clock`: seconds since the epoch."""

    kind = "memory"
    location = "memory"
    folder = ""
    sync: str | None = None
    epoch_changed = False
    pause_above_bytes = UNBOUNDED_BYTES

    def __init__(self, messages_per_room: int, clock: Callable[[], float] = time.time) -> None:
        self.epoch = secrets.token_hex(8)
        self._clock = clock
        self._messages_per_room = messages_per_room
        self._messages: defaultdict[int, deque[tuple[int, MessageEvent]]] = defaultdict(deque)
        self._rooms: dict[str | Pair, StoredRoom] = {}  # by key, conversations by pair
        self._room_names: dict[int, str] = {}  # by id
        self._heads: dict[int, int] = {}  # last seq issued by id, of rooms that may get messages
        self._places: OrderedDict[object, tuple[int, int]] = OrderedDict()  # message id -> (room id, seq)
        self._name_uses: dict[str, int] = {}  # number of conversations by name
        self._last_identity = 0
        self._last_id = 0

    # Registry

    def public_rooms(self) -> list[StoredRoom]:
        """Return nothing: the engine is empty at the start."""
        return []

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return nothing: the hub knows all sessions of this run."""
        return []

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:  # noqa: ARG002  the port's
        """Return nothing: no conversation survives a restart."""
        return []

    def new_identity(self) -> int:
        """Return the next identity number."""
        self._last_identity += 1
        return self._last_identity

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        """Store the rooms; never fails."""
        return [self._find_or_create_room(room) for room in changes.rooms]

    def _find_or_create_room(self, room: NewRoom) -> StoredRoom:
        stored = self._rooms.get(room.pair or room.key)
        if stored is None:
            stored = self._rooms[room.pair or room.key] = self._create_room(room)
        kept = self._messages.get(stored.id)
        head = self._heads.setdefault(stored.id, kept[-1][1].seq if kept else 0)
        return structs.replace(stored, head=head)

    def _create_room(self, room: NewRoom) -> StoredRoom:
        number, name, key = len(self._room_names) + 1, room.name, room.key
        if room.pair is not None:
            uses = self._name_uses[key] = self._name_uses.get(key, 0) + 1
            if uses > 1:
                name = f"{name}#{uses}"
                key = names.fold(name)
        self._room_names[number] = name
        return StoredRoom(number, name, key, room.pair)

    # Log

    def append(
        self,
        messages: Sequence[NewMessage],
        states: Sequence[ConversationRow] = (),  # noqa: ARG002  the port's
    ) -> Appended:
        """Store the messages. Raises `KeyError` as the port says; nothing else fails."""
        timestamp = int(self._clock() * 1e6 + 0.5) / 1e6  # in microseconds
        bases = {room: self._heads[room] for room in dict.fromkeys(message.room for message in messages)}
        stored_at: list[Any] = []  # opaque to the core: ids of messages
        for message in messages:
            room = message.room
            self._heads[room] = seq = self._heads[room] + 1
            self._last_id += 1
            stored_at.append(self._last_id)
            kept = self._messages[room]
            event = MessageEvent(
                room=self._room_names[room],
                seq=seq,
                sender=message.session,
                username=message.username,
                message=message.text,
                timestamp=timestamp,
                origin=message.origin,
                ref=message.ref,
            )
            kept.append((self._last_id, event))
            self._places[self._last_id] = (room, seq)
            if len(kept) > self._messages_per_room:
                self._drop_oldest(room)
        return Appended(timestamp, bases, stored_at)

    def release(self, room: int) -> None:
        """Forget the head of a room that gets no more messages."""
        self._heads.pop(room, None)

    def read(
        self,
        room: int,
        name: str,  # noqa: ARG002  the port's; events have the name that is stored
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        """Return the messages of the range that are still kept; for the parameters see `Log.read`."""
        kept = self._messages.get(room, ())
        found: list[MessageEvent] = []
        begin = max(0, after + 1 - kept[0][1].seq) if kept else 0
        for _, event in reversed(kept) if newest else islice(kept, begin, None):
            if after < event.seq < before:
                if len(found) == limit or size < 0:
                    break
                found.append(event)
                size -= len(event.message.encode())
        return found[::-1] if newest else found

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        """Return the message, None if it is no longer kept."""
        place = self._places.get(stored_at)
        if place is None:
            return None
        room, seq = place
        kept = self._messages[room]
        return kept[seq - kept[0][1].seq][1]

    def refs(self, session: str, limit: int) -> dict[str, StoredAt]:  # noqa: ARG002  the port's
        """Return nothing: sessions keep their refs in memory."""
        return {}

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete up to `TRIM_STEP_MESSAGES` of the oldest messages; never the very last one, as on disk."""
        trimmed: dict[int, int] = {}
        left = TRIM_STEP_MESSAGES
        while before and left and self._places:
            room, seq = next(iter(self._places.values()))
            message_id, event = self._messages[room][0]
            if message_id == self._last_id or event.timestamp >= before:
                break
            self._drop_oldest(room)
            trimmed[room] = seq
            left -= 1
        for room, kept in self._messages.items() if keep else ():
            while left and len(kept) > keep:
                trimmed[room] = kept[0][1].seq
                self._drop_oldest(room)
                left -= 1
        return trimmed

    def _drop_oldest(self, room: int) -> None:
        message_id, _ = self._messages[room].popleft()
        del self._places[message_id]

    def maintain(self, *, truncate: bool = False) -> int:  # noqa: ARG002  the engine's
        """Do nothing: there is no file."""
        return 0

    def disk_sizes(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Do nothing: there is no file to close."""
