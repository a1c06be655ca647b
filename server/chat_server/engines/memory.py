"""A store in memory: nothing survives the process, and each room keeps its newest messages only.

`epoch` is new at each start, so that no client confuses its seqs with those of another run.
"""

import secrets
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import Batch
from chat_server.core.delivery.publisher import message_event
from chat_server.core.ports.records import RoomRecord, SessionRecord, StoredConversation
from chat_server.core.ports.store import UNBOUNDED_BYTES

TRIM_STEP_MESSAGES: Final = 500
"""Maximum of messages deleted by one `trim`."""


class MemoryStore:
    """A store that keeps the last `messages_per_room` messages of each room."""

    kind = "memory"
    location = "memory"
    folder = ""
    sync: str | None = None
    epoch_changed = False
    pause_above_bytes = UNBOUNDED_BYTES

    def __init__(self, messages_per_room: int) -> None:
        self.epoch = secrets.token_hex(8)
        self._messages_per_room = messages_per_room
        self._messages: defaultdict[int, deque[tuple[int, MessageEvent]]] = defaultdict(deque)
        self._last_room_id = 0
        self._places: OrderedDict[int, tuple[int, int]] = OrderedDict()  # message id -> (room id, seq)
        self._name_uses: dict[str, int] = {}  # number of conversations by name
        self._last_identity = 0
        self._last_id = 0

    def public_rooms(self) -> Iterable[RoomRecord]:
        """Return nothing: the store is empty at the start."""
        return []

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return nothing: the hub knows all sessions of this run."""
        return []

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:  # noqa: ARG002  the port's
        """Return nothing: no conversation survives a restart."""
        return []

    def refs(self, session: str, limit: int) -> dict[str, int]:  # noqa: ARG002  the port's
        """Return nothing: sessions keep their refs in memory."""
        return {}

    def new_identity(self) -> int:
        """Return the next identity number."""
        self._last_identity += 1
        return self._last_identity

    def append(self, batch: Batch) -> None:
        """Store the batch; never fails."""
        for record in batch.registry_changes.rooms if batch.registry_changes else ():
            self._create_room(record)
        for message in batch.messages:
            record = message.room.record
            record.seq += 1
            self._last_id += 1
            message.seq, message.id = record.seq, self._last_id
            kept = self._messages[record.id]
            kept.append((message.id, message_event(message, batch.timestamp)))
            self._places[message.id] = (record.id, message.seq)
            if len(kept) > self._messages_per_room:
                self._drop_oldest(record.id)

    def read(
        self,
        room: RoomRecord,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        """Return the messages of the range that are still kept; for the parameters see `Store.read`."""
        kept = self._messages.get(room.id, ())
        found: list[MessageEvent] = []
        begin = max(0, after + 1 - kept[0][1].seq) if kept else 0
        for _, event in reversed(kept) if newest else islice(kept, begin, None):
            if after < event.seq < before:
                if len(found) == limit or size < 0:
                    break
                found.append(event)
                size -= len(event.message.encode())
        return found[::-1] if newest else found

    def find_message(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Return the room id and the message, None if it is no longer kept."""
        place = self._places.get(message_id)
        if place is None:
            return None
        room, seq = place
        kept = self._messages[room]
        return room, kept[seq - kept[0][1].seq][1]

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

    def _create_room(self, record: RoomRecord) -> None:
        self._last_room_id += 1
        record.id, record.queued = self._last_room_id, False
        if record.pair is not None:
            number = self._name_uses[record.key] = self._name_uses.get(record.key, 0) + 1
            if number > 1:
                record.name = f"{record.name}#{number}"
                record.key = names.fold(record.name)
