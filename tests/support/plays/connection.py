"""A connection as the core sees it: link, outbox, and the greenlet that reads; the network is the play's.

It follows `net/connection.py` and `net/outbox.py` in all that the core can notice. What the peer's kernel
takes, acknowledges and loses is set by the play.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from chat_protocol import commands
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Bye, Error
from support.plays.adapter import encode, successor_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chat_protocol.dialects.base import Incoming
    from support.plays.loop import Loop, Signal
    from support.plays.server import Server

QUERIES: Final = (
    commands.History,
    commands.Who,
    commands.Rooms,
    commands.Rtt,
    commands.Servers,
    commands.Ping,
)
"""Commands without any effect but their answer: skipped once the peer cannot get it."""
HELLO_FAILURES: Final = 3
HELLO_WAIT_S: Final = 2.5


class Outbox:
    """Bytes for one peer: those that its kernel has taken, and a queue behind them."""

    def __init__(self, connection: Connection, limit: int) -> None:
        self.data = bytearray()  # all bytes that were ever accepted
        self.queued_bytes = 0
        self.progress_at = 0.0
        self.closed = False
        self.limit = limit
        self.reading = True  # whether the peer reads
        self.space = 0  # bytes that the kernels take although the peer does not read
        self.lost = False
        self._connection = connection

    @property
    def sent(self) -> int:
        """Bytes that were handed to the kernel."""
        return len(self.data) - self.queued_bytes

    @property
    def full(self) -> bool:
        return self.queued_bytes > self.limit or self.closed

    def put(self, data: bytes) -> None:
        if self.closed:
            return
        connection = self._connection
        connection.server.note_bytes(connection, data)
        self.data += data
        taken = 0 if self.queued_bytes else len(data) if self.reading else min(self.space, len(data))
        if not self.reading:
            self.space -= taken
        if taken == len(data):
            return
        if not self.queued_bytes:
            self.progress_at = connection.server.clock.monotonic()
        self.queued_bytes += len(data) - taken
        if self.queued_bytes > 2 * self.limit:
            self.closed = True
            connection.loop.call(connection.on_overflow)

    def offer(self, data: bytes) -> bool:
        if self.queued_bytes and self.queued_bytes + len(data) > self.limit and not self.closed:
            return False
        self.put(data)
        return True

    def send_deferred(self) -> None:
        """Do nothing: all has been offered to the kernel."""

    def take(self, size: int) -> None:
        """Let the kernel take so many bytes of the queue."""
        if not self.queued_bytes or self.lost:
            return
        self.queued_bytes -= min(size, self.queued_bytes)
        self.progress_at = self._connection.server.clock.monotonic()
        if not self.queued_bytes:
            self._connection.on_drained()

    def discard(self) -> None:
        """Drop the queue: the peer has gone."""
        if self.lost:
            return
        self.lost = self.closed = True
        del self.data[self.sent :]
        self.queued_bytes = 0
        self._connection.on_drained()


class Connection:
    """The core's port `Link`, and the reader behind it."""

    def __init__(self, server: Server, number: int, address_key: str, limit: int) -> None:
        self.server = server
        self.loop: Loop = server.loop
        self.number = number
        self.address = f"peer:{number}"
        self.address_key = address_key
        self.codec: Any = DialectDetector()
        self.outbox = Outbox(self, limit)
        self.session = server.core.new_session(self, self.outbox)
        self.end_reason: str | None = None
        self.closed = False  # the reader has ended
        self.paused = False  # the server does not read: a command waits
        self.acked = 0  # bytes that the peer's kernel has acknowledged
        self.prompt = True  # whether everything sent is acknowledged, and read, within the step
        self.tcp_known = True  # whether the system reports what was acknowledged
        self.tcp_ms: float | None = 0.5
        self._input: deque[bytes | None] = deque()  # None: no more comes
        self._readable: Signal = self.loop.signal()
        self._drained: Signal | None = None
        self._progress = 0
        self.loop.spawn(self._run)

    def feed(self, data: bytes | None) -> None:
        """Let these bytes arrive at the server; None: the end of the stream."""
        self._input.append(data)
        self._readable.set()

    # The reader

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001  as the server does: one connection ends
            self._report(error, None)
            self.end_reason = self.end_reason or ErrorCode.INTERNAL
        self.server.core.disconnect(self.session, lambda: self.server.note_closed(self))
        self.outbox.closed = True
        self.closed = True
        self.outbox.discard()
        self.server.core.release(self.session, self)

    def _serve(self) -> None:
        while self.end_reason is None:
            if not self._input:
                self._readable = self.loop.signal()
                self.loop.wait(self._readable)
                continue
            data = self._input.popleft()
            if data is None:
                items = self.codec.receive_eof()
                self._advance_codec()
                self._handle(items)
                self.end_reason = self.end_reason or "closed_by_peer"
                return
            items = self.codec.receive(data)
            self.server.core.record_input(self.session, len(data))
            self._advance_codec()
            self._handle(items)

    def _advance_codec(self) -> None:
        successor = successor_of(self.codec)
        if successor is not None:
            self.codec = successor
            self.server.core.set_encoding(self.session, successor)

    def _handle(self, items: Sequence[Incoming]) -> None:
        core = self.server.core
        for item in items:
            if self.outbox.closed and isinstance(item, QUERIES):
                continue
            try:
                core.dispatch(self.session, item)
            except Exception as error:  # noqa: BLE001  as the server does: the session goes on
                self._report(error, item.ref)
            if isinstance(item, Fault) and item.close:
                self.end_reason = self.end_reason or item.code
            if self.outbox.queued_bytes > self.outbox.limit // 2:
                self._wait_drained()
            signal = core.signal_of_space(self.loop.signal)
            if signal is not None:
                self.wait(signal)
            if self.end_reason is not None:
                break

    def _report(self, error: Exception, ref: str | None) -> None:
        self.server.note_error(error)
        text = "internal server error; the outcome is unknown, retry with the same ref"
        self.server.core.send_if_open(self.session, Error(code=ErrorCode.INTERNAL, message=text, ref=ref))

    def _wait_drained(self) -> None:
        if not self.outbox.queued_bytes or self.end_reason is not None:
            return
        self._drained = self.loop.signal()
        self._pause(self._drained)
        self._drained = None

    def _pause(self, signal: Signal) -> None:
        self.server.core.set_paused(self.session, paused=True)
        self.loop.wait(signal)
        self.server.core.set_paused(self.session, paused=False)

    # What happens to the outbox

    def on_drained(self) -> None:
        if self._drained is not None:
            self._drained.set()
        self.server.core.on_drained(self.session)

    def on_overflow(self) -> None:
        if self.end_reason is None:
            self.end_reason = ByeReason.STALLED
            self.outbox.discard()
            self._readable.set()

    # The port `Link`

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        if not self.outbox.closed:
            bye = Bye(reason=reason, message=message, after=after, ref=ref)
            self.outbox.put(encode(self.codec, bye))
            self.outbox.closed = True
        self.server.core.on_input_closed(self.session)
        if self._drained is not None:
            self._drained.set()
        if self.end_reason is None:
            self.end_reason = reason
            self._readable.set()

    def adopt(self, session: Any) -> None:
        self.session = session
        self.server.core.adopt(session, self, self.outbox, self.codec)

    def bytes_written(self) -> int:
        return len(self.outbox.data) if self.tcp_known else 0

    def bytes_acked(self) -> int:
        return self.acked if self.tcp_known else 0

    def made_progress(self) -> bool:
        before, self._progress = self._progress, self.acked
        return self.outbox.sent > self.acked > before

    def hello_delay(self) -> float:
        since = self.server.clock.monotonic() - HELLO_WAIT_S
        recent = [at for at in self.server.failed_hellos.get(self.address_key, ()) if at > since]
        return HELLO_WAIT_S if len(recent) >= HELLO_FAILURES else 0.0

    def record_failed_hello(self) -> None:
        if self.address_key:
            failures = self.server.failed_hellos.setdefault(self.address_key, [])
            failures.append(self.server.clock.monotonic())

    def tcp_rtt_ms(self) -> float | None:
        return self.tcp_ms

    def wait(self, signal: Any) -> None:
        self._pause(signal)

    def new_signal(self) -> Signal:
        return self.loop.signal()
