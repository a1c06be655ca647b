"""A store that fails when a test says so, and waits for its disk as a real one does."""

from collections.abc import Callable

from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import Batch
from chat_server.core.ports.records import RoomRecord
from chat_server.core.ports.store import UNBOUNDED, StoreUnavailable
from chat_server.engines.memory import MemoryStore


class FlakyStore(MemoryStore):
    """Fails while `failing`, and remembers what it has stored."""

    def __init__(self) -> None:
        super().__init__(100_000)
        self.failing: str | None = None
        self.unreadable = False
        self.meanwhile: list[Callable[[], None]] = []
        self.broken: Exception | None = None
        self.batches: list[Batch] = []

    def append(self, batch: Batch) -> None:
        if self.broken is not None:
            raise self.broken
        if self.failing is not None:
            raise StoreUnavailable(self.failing)
        super().append(batch)
        self.batches.append(batch)

    def read(
        self,
        room: RoomRecord,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED,
    ) -> list[MessageEvent]:
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        while self.meanwhile:  # it waits for the disk
            self.meanwhile.pop(0)()
        return super().read(room, after, before, limit, newest=newest, size=size)

    def find(self, message_id: int) -> tuple[int, MessageEvent] | None:
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        return super().find(message_id)
