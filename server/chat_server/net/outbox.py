"""The outbox of a connection: sends bytes at once as far as the peer reads, queues the rest in order.

MUST NOT block, switch greenlets, raise, or change the members of a room. `FanOut` runs in the middle of a
room's delivery; a peer that is found stuck or gone, or whose transport has a bug, is dealt with later, in a
callback of the loop: so nothing that a recipient raises stops the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from chat_server.net.context import ConnectionContext
    from chat_server.net.transport import Transport

EV_WRITE: Final = 2  # libev's EV_WRITE


COALESCE_BYTES: Final = 64 * 1024
"""Queued chunks are joined up to this size and sent together; a longer one is sent alone."""


def _next_write(queue: list[Any]) -> tuple[int, int]:
    """Return the number of queued chunks for the next `send`, and their bytes."""
    size = 0
    for count, piece in enumerate(queue, 1):
        size += len(piece)
        if size >= COALESCE_BYTES:
            return count, size
    return len(queue), size


class OutboxOwner(Protocol):
    """The connection of an outbox."""

    def on_drained(self) -> None:
        """Note that the queue is empty, or was discarded. MUST NOT switch."""

    def on_overflow(self) -> None:
        """End the connection: its peer does not read. Called by the loop."""

    def on_send_failed(self, error: Exception) -> None:
        """Report a bug that sending has met, and end the connection. Called by the loop."""


class Outbox:
    """The outbox of one peer. `queue` is None while the peer reads everything at once.

    It is a tuple while it is `deferred`: the fan-out will send it. Then the outbox is open, neither corked
    nor watched.
    """

    __slots__ = (
        "_context",
        "_corked",
        "_owner",
        "_progress_at",
        "_transport",
        "_watcher",
        "bytes_direct",
        "closed",
        "queue",
        "queued_bytes",
        "send",
    )

    def __init__(self, transport: Transport, context: ConnectionContext, owner: OutboxOwner) -> None:
        self.send = transport.send
        self.queue: Any = None  # chunks: a list or a tuple
        self.queued_bytes = 0
        self._progress_at = 0.0
        self.closed = False  # accepts nothing more: `bye` is queued, or the peer has gone
        self.bytes_direct = 0  # sent to this peer alone: answers, pings, `bye`
        self._transport = transport
        self._context = context
        self._owner = owner
        self._corked = False
        self._watcher: Any = None

    def __repr__(self) -> str:
        state = "deferred" if self.deferred else "corked" if self._corked else "open"
        state = "closed" if self.closed else state
        return f"<Outbox {state}, {self.queued_bytes} bytes queued>"

    def put(self, data: bytes) -> None:
        """Send or queue `data`, which is for this peer alone."""
        if self.closed:
            return
        self.bytes_direct += len(data)
        self.put_uncounted(data)

    def put_uncounted(self, data: bytes) -> None:
        """Send or queue `data`, whose bytes are counted by its room."""
        if self.queue is not None:
            if type(self.queue) is tuple:  # all in one send, now: it costs no more than that of `data` alone
                self.queue += (data,)
                self.queued_bytes += len(data)
                self.uncork()
            else:
                self.enqueue(data)
            return
        try:
            sent = self.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.discard()
            return
        except Exception as error:  # noqa: BLE001  an outbox never raises: others are served after it
            self.fail(error)
            return
        if sent != len(data):
            self.enqueue(data[sent:])

    @property
    def deferred(self) -> bool:
        """Whether the queue waits for the fan-out, and not for the peer."""
        return type(self.queue) is tuple

    @property
    def progress_at(self) -> float:
        """When the peer last took queued bytes, or was not yet offered them (monotonic seconds)."""
        return self._context.clock.monotonic() if self.deferred else self._progress_at

    @property
    def full(self) -> bool:
        """Whether the queue is over its bound, and waits for the peer; or nothing more is accepted."""
        return self.closed or (self.queued_bytes > self._context.outbox_bytes and not self.deferred)

    def offer(self, data: bytes) -> bool:
        """Send or queue `data` and return True, or return False if the queue would exceed its bound.

        An empty outbox accepts any size, so that nothing is ever too long for it.
        """
        if self._would_overflow(len(data)):
            self.uncork()
            if self._would_overflow(len(data)):
                return False
        self.put_uncounted(data)
        return True

    def enqueue(self, data: bytes) -> None:
        """Queue unread bytes, and watch for writability; twice the bound ends the connection."""
        if self.closed:
            return
        if self.queue is None:
            self.queue = []
        if not self.queued_bytes:  # corked bytes count from now on, too
            self._progress_at = self._context.clock.monotonic()
        self.queue.append(data)
        self.queued_bytes += len(data)
        if self._corked:
            if self.queued_bytes > self._context.outbox_bytes // 2:  # the reader may be waiting: do not delay
                self.uncork()
            return
        if self._watcher is None:
            self._watch()
        if self.queued_bytes > 2 * self._context.outbox_bytes:  # answers may take as much as messages
            self.close_input()
            self._context.loop.run_callback(self._owner.on_overflow)

    def cork(self) -> None:
        """Queue everything from now on, until `uncork`."""
        self.send_deferred()
        if self.queue is None:
            self.queue = []
            self._corked = True

    def send_deferred(self) -> None:
        """Send what waits for the fan-out."""
        if type(self.queue) is tuple:
            self.uncork()

    def uncork(self) -> None:
        """Send what was queued since `cork`, or was deferred, in one piece."""
        if type(self.queue) is tuple:
            self.queue = list(self.queue)
            self.flush()
        elif self._corked:
            self._corked = False
            self.flush()

    def flush(self) -> None:
        """Send as much of the queue as the peer reads now."""
        queue = self.queue
        if queue is None or self._corked:
            return
        while queue:
            count, size = _next_write(queue)
            data = queue[0] if count == 1 else b"".join(queue[:count])
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0  # the watcher will call again
            except OSError:
                self.discard()
                return
            except Exception as error:  # noqa: BLE001  as above
                self.fail(error)
                return
            if sent:
                self.queued_bytes -= sent
                self._progress_at = self._context.clock.monotonic()
            if sent != size:
                queue[:count] = [memoryview(data)[sent:]]  # no copy of the rest for a slow peer
                if self._watcher is None:
                    self._watch()
                return
            del queue[:count]
        self.queue = [] if self.closed else None
        self._unwatch()
        self._owner.on_drained()

    def keep_rest(self, data: bytes, sent: int) -> None:
        """Keep the rest of `data`, all that was deferred, of which the peer has taken so many bytes."""
        self.queue = [memoryview(data)[sent:]]
        self.queued_bytes -= sent
        self._watch()

    def close_input(self) -> None:
        """Accept nothing more: the last frame is queued."""
        self.send_deferred()
        self.closed = True
        if self.queue is None:
            self.queue = []

    def discard(self) -> None:
        """Drop everything: the peer has gone, which its reader notices by itself."""
        self.closed = True
        self.queue = []
        self.queued_bytes = 0
        self._unwatch()
        self._owner.on_drained()

    def fail(self, error: Exception) -> None:
        """Drop everything: `send` has raised what no system call raises."""
        owner = self._owner
        self.discard()
        self._context.loop.run_callback(lambda: owner.on_send_failed(error))

    def close(self) -> None:
        """Release the watcher and the connection: a cycle would keep both until a garbage collection."""
        self.discard()
        del self._owner, self._transport, self.send

    def _would_overflow(self, size: int) -> bool:
        queued = self.queued_bytes
        return queued > 0 and queued + size > self._context.outbox_bytes and not self.closed

    def _watch(self) -> None:
        self._progress_at = self._context.clock.monotonic()
        self._watcher = self._context.loop.io(self._transport.fileno(), EV_WRITE)
        self._watcher.start(self.flush)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
