"""A store that fails when a test says so, and waits for its disk as a real one does."""

from collections.abc import Callable

from chat_protocol.events import MessageEvent
from chat_server.core.delivery.batch import Batch
from chat_server.core.ports.records import RoomRecord
from chat_server.core.ports.store import UNBOUNDED_BYTES, StoreUnavailable
from chat_server.engines.memory import MemoryStore


class FailingStore(MemoryStore):
    """Fails while `failing`, and remembers what it has stored."""

    def __init__(self) -> None:
        super().__init__(100_000)
        self.failing: str | None = None
        self.unreadable = False
        self.during_read: list[Callable[[], None]] = []
        self.on_wait: Callable[[], None] = lambda: None  # called where a real store may wait
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
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        self.on_wait()
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        while self.during_read:  # it waits for the disk
            self.during_read.pop(0)()
        return super().read(room, after, before, limit, newest=newest, size=size)

    def find_message(self, message_id: int) -> tuple[int, MessageEvent] | None:
        self.on_wait()
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        return super().find_message(message_id)
