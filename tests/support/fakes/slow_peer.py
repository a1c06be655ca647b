"""A peer that reads as much as the test lets it, and what its outbox knows: loop, clock and connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chat_server.net.outbox import Outbox

OUTBOX_BYTES = 100


class Watcher:
    """A write watcher: fires when the peer reads."""

    def __init__(self, peer: SlowPeer) -> None:
        self.peer = peer

    def start(self, callback: Callable[[], None]) -> None:
        self.peer.watching = callback

    def stop(self) -> None:
        self.peer.watching = None

    def close(self) -> None:
        """Do nothing."""


class SlowPeer:
    """A transport with space for so many bytes, its context with loop and clock, and its connection."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.gone = False
        self.received = b""
        self.sent: list[int] = []  # bytes of each call
        self.watching: Callable[[], None] | None = None
        self.later: list[Callable[[], None]] = []
        self.drains = 0
        self.stalls = 0
        self.bug: Exception | None = None  # raised by `send`
        self.failures: list[Exception] = []
        self.now = 0.0
        self.loop = self.clock = self
        self.outbox_bytes = OUTBOX_BYTES
        self.outbox = Outbox(self, self, self)  # type: ignore[arg-type]

    def send(self, data: bytes | memoryview) -> int:
        if self.bug is not None:
            raise self.bug
        if self.gone:
            raise ConnectionResetError
        if not self.room:
            raise BlockingIOError
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        self.sent.append(len(taken))
        self.received += taken
        return len(taken)

    def takes(self, size: int) -> None:
        """Let the peer read so many bytes; the loop calls the watcher."""
        self.room += size
        while self.room and self.watching is not None:
            self.watching()

    def fileno(self) -> int:
        return 0

    def io(self, *_: Any) -> Watcher:
        return Watcher(self)

    def monotonic(self) -> float:
        return self.now

    def run_callback(self, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def on_drained(self) -> None:
        self.drains += 1

    def on_overflow(self) -> None:
        self.stalls += 1

    def on_send_failed(self, error: Exception) -> None:
        self.failures.append(error)
