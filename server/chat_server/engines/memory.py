"""An engine in memory: nothing survives the process, and the oldest messages give way to new ones.

`epoch` is new at each start, so that no client confuses its seqs with those of another run. It keeps nothing
that only the next start would read: identities, sessions, states of conversations.
"""

import secrets
import time
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any, Final

from msgspec import structs

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import (
    UNBOUNDED_BYTES,
    Appended,
    ConversationRow,
    NewMessage,
    StoredAt,
    ref_key,
)
from chat_server.core.ports.registry import (
    NewRoom,
    Pair,
    RegistryChanges,
    SessionRecord,
    StoredConversation,
    StoredRoom,
)
from chat_server.engines.engine import IndexRebuilt, Unreadable

TRIM_STEP_MESSAGES: Final = 500
"""Maximum of messages deleted by one `trim`."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Default bound of the messages of all rooms, in bytes of memory."""

NAMES_KEPT: Final = 100_000
"""Ended rooms whose last seqs are remembered, and names of conversations whose numbers are: about 20 MB each.
When one of them is forgotten, rooms that are new begin behind it: no seq and no number is used again."""

UNUSED_KEPT: Final = 10_000
"""Conversations without messages that get none any more; beyond that the oldest are forgotten."""

REFS_PER_SESSION: Final = 1024
"""Refs kept of a resumable session: as many as the protocol promises to remember."""

_OVERHEAD_BYTES: Final = 1200  # of a message and its places, at most, besides its text
_NON_ASCII_BYTES: Final = 8  # of a character, at most: its code point, and the cached UTF-8


class MemoryEngine:
    """Keeps the last `messages_per_room` messages of each room, and of all rooms at most `max_bytes`.

    `clock`: seconds since the epoch.
    """

    kind = "memory"
    location = "memory"
    folder = ""
    sync: str | None = None
    epoch_changed = False
    pause_above_bytes = UNBOUNDED_BYTES
    unreadable_messages = 0

    def __init__(
        self, messages_per_room: int, clock: Callable[[], float] = time.time, *, max_bytes: int = MAX_BYTES
    ) -> None:
        self.epoch = secrets.token_hex(8)
        self._clock = clock
        self._messages_per_room = messages_per_room
        self._max_bytes = max_bytes
        self._bytes = 0
        self._messages: dict[int, deque[tuple[int, MessageEvent]]] = {}  # by room id, if there are any
        self._rooms: dict[int, StoredRoom] = {}  # by id
        self._room_ids: dict[str | Pair, int] = {}  # by key, conversations by pair as well
        self._heads: dict[int, int] = {}  # last seq issued by id, of rooms that may get messages
        self._places: OrderedDict[object, tuple[int, int]] = OrderedDict()  # message id -> (room id, seq)
        self._refs: dict[str, tuple[array[int], array[int]]] = {}  # keys and message ids of a session's refs
        self._ended: OrderedDict[str, int] = OrderedDict()  # last seq by key
        self._forgotten_head = 0  # the highest of the ended rooms that are forgotten
        self._name_uses: OrderedDict[str, int] = OrderedDict()  # number of conversations by name
        self._forgotten_uses = 0
        self._unused: OrderedDict[int, None] = OrderedDict()  # ids of conversations, see `UNUSED_KEPT`
        self._last_identity = 0
        self._last_room = 0
        self._last_id = 0

    # Registry

    def public_rooms(self) -> list[StoredRoom]:
        """Return nothing: the engine is empty at the start."""
        return []

    def ended_head(self, key: str) -> int:
        """Return the last seq of an ended room, else 0; if many have been forgotten, the highest of them."""
        return 0 if key in self._room_ids else self._ended.get(key, self._forgotten_head)

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return nothing: the hub knows all sessions of this run."""
        return []

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:  # noqa: ARG002  the port's
        """Return nothing: no conversation survives a restart."""
        return []

    def conversation_named(self, key: str) -> StoredRoom | None:
        """Return the conversation of that folded name, None if there is none."""
        room = self._rooms.get(self._room_ids.get(key, 0))
        if room is None or room.pair is None:
            return None
        kept = self._messages.get(room.id)
        return structs.replace(room, head=self._heads.get(room.id) or (kept[-1][1].seq if kept else 0))

    def new_identity(self) -> int:
        """Return the next identity number."""
        self._last_identity += 1
        return self._last_identity

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        """Store the rooms; never fails."""
        for session in changes.sessions:
            self._refs[session.id] = array("q"), array("q")
        for ended_session in changes.ended_sessions:
            self._refs.pop(ended_session, None)
        for ended in changes.ended_rooms:
            self._end_room(ended.id, ended.head)
        return [self._find_or_create_room(room) for room in changes.rooms]

    def _find_or_create_room(self, room: NewRoom) -> StoredRoom:
        stored = self._rooms.get(self._room_ids.get(room.pair or room.key, 0))
        if stored is None:
            stored = self._create_room(room)
        self._unused.pop(stored.id, None)
        kept = self._messages.get(stored.id)
        head = self._heads.setdefault(stored.id, kept[-1][1].seq if kept else 0)
        return structs.replace(stored, head=head)

    def _create_room(self, room: NewRoom) -> StoredRoom:
        self._last_room += 1
        number, name, key, head = self._last_room, room.name, room.key, 0
        if room.pair is not None:
            uses = self._name_uses.pop(key, self._forgotten_uses) + 1
            self._name_uses[key] = uses
            if len(self._name_uses) > NAMES_KEPT:
                self._forgotten_uses = max(self._forgotten_uses, self._name_uses.popitem(last=False)[1])
            if uses > 1:
                name = f"{name}#{uses}"
                key = names.fold(name)
            self._room_ids[room.pair] = number
        else:
            head = self._ended.pop(key, self._forgotten_head)
        self._room_ids[key] = number
        self._heads[number] = head
        stored = self._rooms[number] = StoredRoom(number, name, key, room.pair, head, head)
        return stored

    def _end_room(self, number: int, head: int) -> None:
        """Delete a public room with its messages; remember its last seq."""
        room = self._rooms.pop(number, None)
        if room is None:
            return
        del self._room_ids[room.key]
        self._ended[room.key] = max(head, self._heads.pop(number, 0))
        if len(self._ended) > NAMES_KEPT:
            self._forgotten_head = max(self._forgotten_head, self._ended.popitem(last=False)[1])
        for message_id, event in self._messages.pop(number, ()):
            del self._places[message_id]
            self._bytes -= _memory_bytes(event)

    def _forget_unused(self, number: int) -> None:
        """Note that a conversation gets no more messages, and has none; forget the oldest such one."""
        self._unused[number] = None
        if len(self._unused) > UNUSED_KEPT:
            room = self._rooms.pop(self._unused.popitem(last=False)[0])
            del self._room_ids[room.key]
            if room.pair is not None:
                del self._room_ids[room.pair]

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
            kept = self._messages.get(room)
            if kept is None:
                kept = self._messages[room] = deque()
            event = MessageEvent(
                room=self._rooms[room].name,
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
            self._bytes += _memory_bytes(event)
            if message.ref is not None:
                self._keep_ref(message.session, message.ref)
            if len(kept) > self._messages_per_room:
                self._drop_oldest(room)
        while self._bytes > self._max_bytes and len(self._places) > 1:
            self._drop_oldest(next(iter(self._places.values()))[0])
        return Appended(timestamp, bases, stored_at)

    def _keep_ref(self, session: str, ref: str) -> None:
        """Keep the ref of the last message, if its session is resumable."""
        found = self._refs.get(session)
        if found is None:
            return
        keys, message_ids = found
        keys.append(ref_key(ref))
        message_ids.append(self._last_id)
        if len(keys) >= 2 * REFS_PER_SESSION:
            del keys[:-REFS_PER_SESSION], message_ids[:-REFS_PER_SESSION]

    def release(self, room: int) -> None:
        """Forget the head of a room that gets no more messages."""
        self._heads.pop(room, None)
        if room in self._rooms and room not in self._messages:
            self._forget_unused(room)

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
        catching_up: bool = False,  # noqa: ARG002  the port's
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

    def refs(self, session: str, limit: int) -> dict[int, StoredAt]:
        """Return the last refs of a resumable session, also of messages that are no longer kept."""
        keys, stored_at = self._refs.get(session, ((), ()))
        found: dict[int, StoredAt] = {}
        for key, where in zip(keys[-limit:][::-1], stored_at[-limit:][::-1], strict=True):
            found.setdefault(key, StoredAt(where))
        return dict(reversed(found.items()))

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
        for room, kept in list(self._messages.items()) if keep else ():
            while left and len(kept) > keep:
                trimmed[room] = kept[0][1].seq
                self._drop_oldest(room)
                left -= 1
        return trimmed

    def _drop_oldest(self, room: int) -> None:
        kept = self._messages[room]
        message_id, event = kept.popleft()
        del self._places[message_id]
        self._bytes -= _memory_bytes(event)
        if not kept:
            del self._messages[room]
            if room not in self._heads:  # released
                self._forget_unused(room)

    def take_notices(self) -> list[Unreadable | IndexRebuilt]:
        """Return nothing: nothing is read from a disk."""
        return []

    def maintain(self, *, truncate: bool = False) -> int:  # noqa: ARG002  the engine's
        """Do nothing: there is no file."""
        return 0

    def disk_sizes(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Do nothing: there is no file to close."""


def _memory_bytes(event: MessageEvent) -> int:
    """Return the bytes of memory that a message takes at most."""
    size = len(event.message) * (1 if event.message.isascii() else _NON_ASCII_BYTES)
    return size + _OVERHEAD_BYTES
