"""The outbox of a connection: sends bytes at once as far as the peer reads, queues the rest in order.

MUST NOT block, switch greenlets, raise, or change the members of a room. `FanOut` runs in the middle of a
room's delivery; a peer that is found stuck or gone, or whose transport has a bug, is dealt with later, in a
callback of the loop: so nothing that a recipient raises stops the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from chat_server.core.ports.clock import Clock
    from chat_server.net.context import ConnectionContext
    from chat_server.net.event_loop import EventLoop
    from chat_server.net.transport import Transport

EV_WRITE: Final = 2  # libev's EV_WRITE


COALESCE_BYTES: Final = 64 * 1024
"""Queued chunks are joined up to this size and sent together; a longer one is sent alone."""


SENDS_AT_ONCE: Final = 1000
"""Sends of a round of the loop to more than a few outboxes: some 5 ms. The bytes for the others are queued at
once, which keeps their order, and are sent in the next rounds: nobody waits for a room of thousands. With a
tenth of it, rounds would be shorter, and a delivery in a room of a thousand a quarter dearer."""

A_FEW: Final = 16
"""Outboxes to which the same bytes are always sent at once."""

SENDING_SLICE_S: Final = 0.002
"""Seconds of a round in which bytes are sent that were queued for it."""

SENDS_IN_TURN: Final = 16
"""Sends of one fan-out, before it is the turn of another one."""


class _Deferred:
    """The outboxes of one fan-out that wait for a later round, and what is to be called after the last."""

    __slots__ = ("callbacks", "outboxes")

    def __init__(self) -> None:
        self.outboxes: deque[Any] = deque()
        self.callbacks: list[Callable[[], None]] = []


class FanOut:
    """Offers the same bytes to many outboxes. `deferred`: how many fan-outs have taken several rounds."""

    def __init__(self, loop: EventLoop, clock: Clock) -> None:
        self.deferred = 0
        self._loop = loop
        self._now = clock.monotonic
        self._round = -1  # the loop's, for which `_left` counts
        self._left = SENDS_AT_ONCE
        self._waiting: deque[_Deferred] = deque()  # in the order of their turns

    def offer(self, outboxes: Collection[Any], chunk: bytes) -> Sequence[Any]:
        """Offer `chunk` to every outbox; return those that did not accept it.

        The hot loop: one `send` a member, and nothing else for members that keep up.
        """
        size = len(chunk)
        refused: list[Any] | None = None
        first: Iterable[Any] = outboxes
        if len(outboxes) > A_FEW and (at_once := self._sends_left(len(outboxes))) < len(outboxes):
            each = iter(outboxes)
            first = list(islice(each, at_once))
            refused = self._defer(each, chunk)
        for outbox in first:
            try:
                if outbox.queue is None:
                    try:
                        sent = outbox.send(chunk)
                    except BlockingIOError:
                        sent = 0
                    if sent != size:
                        outbox.enqueue(chunk[sent:])
                elif not outbox.offer(chunk):
                    if refused is None:
                        refused = []
                    refused.append(outbox)
            except OSError:
                outbox.discard()
            except Exception as error:  # noqa: BLE001  a recipient's bug must not stop the others
                outbox.fail(error)
        return refused or ()

    def when_sent(self, callback: Callable[[], None]) -> None:
        """Call `callback` once what was deferred last has been sent, as far as the peers read."""
        self._waiting[-1].callbacks.append(callback)

    def _sends_left(self, count: int) -> int:
        """Return how many of `count` sends may be done in this round."""
        polls = self._loop.polls.iteration
        if polls != self._round:
            self._round, self._left = polls, SENDS_AT_ONCE
        at_once = min(self._left, count)
        self._left -= at_once
        return at_once

    def _defer(self, outboxes: Iterable[Any], chunk: bytes) -> list[Any]:
        """Queue `chunk` for a later round; return the outboxes that did not accept it."""
        now = self._now()
        refused = []
        self.deferred += 1
        if not self._waiting:
            self._loop.run_next_round(self._send_waiting)
        deferred = _Deferred()
        self._waiting.append(deferred)
        for outbox in outboxes:
            try:
                if outbox.queue is None:
                    outbox.defer(chunk, now)
                    deferred.outboxes.append(outbox)
                elif not outbox.offer(chunk):
                    refused.append(outbox)
            except Exception as error:  # noqa: BLE001  as above
                outbox.fail(error)
        return refused

    def _send_waiting(self) -> None:
        """Send to some outboxes, for one time slice; the fan-outs have turns."""
        waiting = self._waiting
        slice_ends_at = self._now() + SENDING_SLICE_S
        self._round, self._left = self._loop.polls.iteration, 0  # these are the sends of this round
        try:
            while waiting:
                waiting.rotate(-1)
                deferred = waiting[-1]
                for _ in range(min(SENDS_IN_TURN, len(deferred.outboxes))):
                    deferred.outboxes.popleft().uncork()
                if not deferred.outboxes:
                    waiting.pop()
                    for callback in deferred.callbacks:
                        callback()
                if self._now() > slice_ends_at:
                    break
        finally:
            if waiting:
                self._loop.run_next_round(self._send_waiting)


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
    """The outbox of one peer. `queue` is None while the peer reads everything at once."""

    __slots__ = (
        "_context",
        "_corked",
        "_owner",
        "_transport",
        "_watcher",
        "bytes_direct",
        "closed",
        "progress_at",
        "queue",
        "queued_bytes",
        "send",
    )

    def __init__(self, transport: Transport, context: ConnectionContext, owner: OutboxOwner) -> None:
        self.send = transport.send
        self.queue: list[bytes | memoryview] | None = None
        self.queued_bytes = 0
        self.progress_at = 0.0
        self.closed = False  # accepts nothing more: `bye` is queued, or the peer has gone
        self.bytes_direct = 0  # sent to this peer alone: answers, pings, `bye`
        self._transport = transport
        self._context = context
        self._owner = owner
        self._corked = False
        self._watcher: Any = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "corked" if self._corked else "open"
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
    def full(self) -> bool:
        """Whether the queue is over its bound, or the outbox accepts nothing more."""
        return self.queued_bytes > self._context.outbox_bytes or self.closed

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
        if self.queue is None:
            self.queue = []
            self._corked = True

    def defer(self, data: bytes, now: float) -> None:
        """Queue `data` while nothing is queued, until `uncork`."""
        self.queue = [data]
        self.queued_bytes = len(data)
        self.progress_at = now
        self._corked = True

    def uncork(self) -> None:
        """Send what was queued since `cork` or `defer`, in one piece."""
        if self._corked:
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
                self.progress_at = self._context.clock.monotonic()
            if sent != size:
                queue[:count] = [memoryview(data)[sent:]]  # no copy of the rest for a slow peer
                if self._watcher is None:
                    self._watch()
                return
            del queue[:count]
        self.queue = [] if self.closed else None
        self._unwatch()
        self._owner.on_drained()

    def close_input(self) -> None:
        """Accept nothing more: the last frame is queued."""
        self.closed = True
        if self.queue is None:
            self.queue = []

    def discard(self) -> None:
        """Drop everything: the peer has gone, which its reader notices by itself."""
        self.closed = True
        self.queue = []
        self.queued_bytes = 0
        self._corked = False
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
        self.progress_at = self._context.clock.monotonic()
        self._watcher = self._context.loop.io(self._transport.fileno(), EV_WRITE)
        self._watcher.start(self.flush)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
