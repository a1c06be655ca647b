"""Bytes on their way to one peer: sent at once as far as the peer takes them, kept in order otherwise.

Knows a socket's `send` and the event loop's write watcher. Must not know what the bytes mean.

MUST NOT: block, switch greenlets, raise, or change any room's members. `fan_out` runs in the middle of a
room's delivery; what it finds out about a peer (stuck, gone) is acted upon later, in a callback of the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from chat_server.net.connection import Connection

EV_WRITE: Final = 2  # libev's EV_WRITE


COALESCE_BYTES: Final = 64 * 1024
"""Small pieces are joined up to this and sent together; a longer one goes alone."""


def fan_out(outboxes: Iterable[Any], chunk: bytes) -> Sequence[Any]:
    """Offer `chunk` to every outbox; return those that did not take it.

    The hot loop: one `send` a member, nothing else unless one is slow.
    """
    size = len(chunk)
    refused: list[Any] | None = None
    for outbox in outboxes:
        if outbox.queue is None:
            try:
                sent = outbox.send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                outbox.discard()
                continue
            if sent != size:
                outbox.enqueue(chunk[sent:])
        elif not outbox.offer(chunk):
            if refused is None:
                refused = []
            refused.append(outbox)
    return refused or ()


def _next_write(queue: list[Any]) -> tuple[int, int]:
    """Return how many of the pieces go out together, and their bytes."""
    size = 0
    for count, piece in enumerate(queue, 1):
        size += len(piece)
        if size >= COALESCE_BYTES:
            return count, size
    return len(queue), size


class Outbox:
    """One peer's. `held` is None while the peer takes everything at once."""

    __slots__ = (
        "_connection",
        "_corked",
        "_limit_bytes",
        "_watcher",
        "moved_at",
        "queue",
        "send",
        "shut",
        "waiting",
    )

    def __init__(self, connection: Connection, limit_bytes: int) -> None:
        self.send = connection.sock.send
        self.queue: list[bytes | memoryview] | None = None
        self.waiting = 0
        self.moved_at = 0.0
        self.shut = False  # nothing more is taken: the bye is in, or the peer has gone
        self._connection = connection
        self._limit_bytes = limit_bytes
        self._corked = False
        self._watcher: Any = None

    def put(self, data: bytes) -> None:
        """Send or keep `data`."""
        if self.shut:
            return
        self._connection.bytes_direct += len(data)
        self.put_uncounted(data)

    def put_uncounted(self, data: bytes) -> None:
        """Send or keep `data`, whose bytes are counted by its room."""
        if self.queue is not None:
            self.enqueue(data)
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.discard()
            return
        if sent != len(data):
            self.enqueue(data[sent:])

    @property
    def full(self) -> bool:
        """Whether more waits already than what is offered may add to."""
        return self.waiting > self._limit_bytes or self.shut

    def offer(self, data: bytes) -> bool:
        """Send or keep `data`, or, if more than the bound would wait then, take none of it.

        An empty outbox takes anything, so that nothing is ever too long for it.
        """
        if self.waiting and self.waiting + len(data) > self._limit_bytes and not self.shut:
            self.uncork()
            if self.waiting and self.waiting + len(data) > self._limit_bytes and not self.shut:
                return False
        self.put_uncounted(data)
        return True

    def enqueue(self, data: bytes) -> None:
        """Keep what the peer has not taken, and wait for it to take more; far too much is the end."""
        if self.shut:
            return
        if self.queue is None:
            self.queue = []
        self.queue.append(data)
        self.waiting += len(data)
        if self._corked:
            if self.waiting > self._limit_bytes // 2:  # its reader waits for something: the peer need not
                self.uncork()
            return
        if self._watcher is None:
            self._watch()
        if self.waiting > 2 * self._limit_bytes:  # answers alone: no more of them than of the feed
            self.close_input()
            self._connection.call_soon(self._connection.on_overflow)

    def cork(self) -> None:
        """Gather what is put from now on."""
        if self.queue is None:
            self.queue = []
            self._corked = True

    def uncork(self) -> None:
        """Send what was gathered, in one piece."""
        if self._corked:
            self._corked = False
            self.flush()

    def flush(self) -> None:
        """Send as much of what is kept as the peer takes now."""
        queue = self.queue
        if queue is None or self._corked:
            return
        while queue:
            count, size = _next_write(queue)
            data = queue[0] if count == 1 else b"".join(queue[:count])
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0  # the watcher will tell
            except OSError:
                self.discard()
                return
            if sent:
                self.waiting -= sent
                self.moved_at = self._connection.now()
            if sent != size:
                queue[:count] = [memoryview(data)[sent:]]  # no copy of what a slow peer takes in sips
                if self._watcher is None:
                    self._watch()
                return
            del queue[:count]
        self.queue = [] if self.shut else None
        self._unwatch()
        self._connection.on_drained()

    def close_input(self) -> None:
        """Take nothing more: the last frame is in."""
        self.shut = True
        if self.queue is None:
            self.queue = []

    def discard(self) -> None:
        """Drop everything: the peer has gone. The reader will find out by itself."""
        self.shut = True
        self.queue = []
        self.waiting = 0
        self._unwatch()
        self._connection.on_drained()

    def close(self) -> None:
        """Let go of the loop and of the connection: a cycle would keep both until a garbage collection."""
        self.discard()
        del self._connection, self.send

    def _watch(self) -> None:
        self.moved_at = self._connection.now()
        self._watcher = self._connection.loop.io(self._connection.sock.fileno(), EV_WRITE)
        self._watcher.start(self.flush)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
