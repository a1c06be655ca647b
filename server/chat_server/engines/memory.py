"""A store without a disk: nothing survives the process, and each room keeps its newest messages only.

Knows records and lists. `epoch` is new at each start, so no client takes its seqs for those of another run.
"""

import secrets
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import Batch
from chat_server.core.delivery.ingest import message_event
from chat_server.core.ports.records import RoomRecord, SessionRecord, StoredConversation
from chat_server.core.ports.store import UNBOUNDED_BYTES

TRIM_STEP_MESSAGES: Final = 500
"""Messages that one `trim` deletes at most."""


class MemoryStore:
    """Keeps `kept` messages a room."""

    def __init__(self, messages_per_room: int) -> None:
        self.epoch = secrets.token_hex(8)
        self._messages_per_room = messages_per_room
        self._messages: defaultdict[int, deque[tuple[int, MessageEvent]]] = defaultdict(deque)
        self._last_room_id = 0
        self._places: OrderedDict[int, tuple[int, int]] = OrderedDict()  # message id -> (room id, seq)
        self._name_uses: dict[str, int] = {}  # conversations of the same names, counted
        self._last_identity = 0
        self._last_id = 0

    def public_rooms(self) -> Iterable[RoomRecord]:
        """Return nothing: a memory store begins empty."""
        return []

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return nothing: whoever comes back within a run is known to the hub."""
        return []

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:  # noqa: ARG002  the port's
        """Return nothing."""
        return []

    def refs(self, session: str, limit: int) -> dict[str, int]:  # noqa: ARG002  the port's
        """Return nothing: sessions remember their refs themselves."""
        return {}

    def new_identity(self) -> int:
        """Return the next number."""
        self._last_identity += 1
        return self._last_identity

    def append(self, batch: Batch) -> None:
        """Store the batch; it cannot fail."""
        for record in batch.registry_changes.rooms if batch.registry_changes else ():
            self._create_room(record)
        for draft in batch.messages:
            record = draft.room.record
            record.seq += 1
            self._last_id += 1
            draft.seq, draft.id = record.seq, self._last_id
            kept = self._messages[record.id]
            kept.append((draft.id, message_event(draft, batch.timestamp)))
            self._places[draft.id] = (record.id, draft.seq)
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
        """Return what is kept of the range."""
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
        """Return a message that is still kept."""
        place = self._places.get(message_id)
        if place is None:
            return None
        room, seq = place
        kept = self._messages[room]
        return room, kept[seq - kept[0][1].seq][1]

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete the oldest, up to `STEP` of them; never the very last message, as on disk."""
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

    def close(self) -> None:
        """Do nothing: there is nothing to keep."""

    def _create_room(self, record: RoomRecord) -> None:
        self._last_room_id += 1
        record.id, record.queued = self._last_room_id, False
        if record.pair is not None:
            number = self._name_uses[record.key] = self._name_uses.get(record.key, 0) + 1
            if number > 1:
                record.name = f"{record.name}#{number}"
                record.key = names.fold(record.name)
