"""An engine that fails when a test says so, and waits for its disk as a real one does."""

import time
from collections.abc import Callable, Sequence

from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import (
    UNBOUNDED_BYTES,
    Appended,
    ConversationRow,
    NewMessage,
    StoredAt,
    StoreUnavailable,
)
from chat_server.core.ports.registry import RegistryChanges, StoredRoom
from chat_server.engines.memory import MemoryEngine


class FailingStore(MemoryEngine):
    """Fails while `failing`, in `append` alone while `append_failing`; remembers what it has stored."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(100_000, clock)
        self.failing: str | None = None
        self.append_failing: str | None = None
        self.unreadable = False
        self.during_read: list[Callable[[], None]] = []
        self.during_append: list[Callable[[], None]] = []  # of one append, after it was asked for
        self.on_wait: Callable[[], None] = lambda: None  # called where a real engine may wait
        self.broken: Exception | None = None
        self.changes: list[RegistryChanges] = []
        self.batches: list[list[NewMessage]] = []
        self.states: list[ConversationRow] = []

    def write(self, changes: RegistryChanges) -> list[StoredRoom]:
        self._fail(self.failing)
        stored = super().write(changes)
        self.changes.append(changes)
        return stored

    def append(self, messages: Sequence[NewMessage], states: Sequence[ConversationRow] = ()) -> Appended:
        self._fail(self.failing or self.append_failing)
        meanwhile, self.during_append = self.during_append, []
        for act in meanwhile:  # it waits for the disk
            act()
        appended = super().append(messages, states)
        self.batches.append([*messages])
        self.states.extend(states)
        return appended

    def _fail(self, reason: str | None) -> None:
        if self.broken is not None:
            raise self.broken
        if reason is not None:
            raise StoreUnavailable(reason)

    def read(
        self,
        room: int,
        name: str,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED_BYTES,
        catching_up: bool = False,
    ) -> list[MessageEvent]:
        self.on_wait()
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        while self.during_read:  # it waits for the disk
            self.during_read.pop(0)()
        return super().read(
            room, name, after, before, limit, newest=newest, size=size, catching_up=catching_up
        )

    def conversation_named(self, key: str) -> StoredRoom | None:
        self.on_wait()
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        return super().conversation_named(key)

    def find(self, stored_at: StoredAt) -> MessageEvent | None:
        self.on_wait()
        if self.unreadable:
            raise StoreUnavailable("unreadable")
        return super().find(stored_at)
