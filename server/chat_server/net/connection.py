"""A connection: one greenlet reads the socket, decodes commands, passes them to the router, and closes.

The greenlet waits for input (net/reader.py) and calls the raw non-blocking `recv`: no exception and no system
call without data. Any greenlet MAY call `close_with_bye`; it MUST NOT switch. Everything else runs in the
connection's own greenlet. MUST NOT know rooms or the meaning of commands.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final, Protocol, cast

from chat_protocol.dialects.base import Codec
from chat_protocol.dialects.detect import DialectDetector
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.events import Bye, Error
from chat_server.core.commands.router import QUERY_COMMANDS
from chat_server.core.sessions import detached
from chat_server.core.sessions.session import BaseSession
from chat_server.net import tcp_info
from chat_server.net.keepalive import enable_keepalive
from chat_server.net.linger import CLOSE_LINGER_S, read_to_end
from chat_server.net.outbox import Outbox
from chat_server.net.reader import Reader, ReadInterrupted
from chat_server.net.turns import FIRST_READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chat_protocol.dialects.base import Incoming
    from chat_server.core.delivery.room import Session
    from chat_server.core.ports.link import Signal
    from chat_server.net.context import ConnectionContext
    from chat_server.net.event_loop import LoopEvent
    from chat_server.net.transport import Transport

READ_BYTES: Final = 16 * 1024
"""Bytes of one read: hundreds of commands, but few enough not to delay other sessions."""


class ConnectionOwner(Protocol):
    """Where connections are registered until they have closed."""

    def on_disconnect(self, connection: Connection) -> None:
        """Detach the session of a connection that has ended. May wait."""

    def on_failed(self, connection: Connection, error: Exception) -> None:
        """Report an unexpected exception."""

    def unregister(self, connection: Connection) -> None:
        """Remove a closed connection."""


class Connection(Reader):
    """A peer's transport, codec, outbox and session."""

    __slots__ = (
        "_drained",
        "_owner",
        "_port",
        "_watch",
        "bytes_in",
        "codec",
        "end_reason",
        "opened_at",
        "outbox",
        "paused",
        "session",
        "transport",
    )

    def __init__(
        self, transport: Transport, host: str, port: int, context: ConnectionContext, owner: ConnectionOwner
    ) -> None:
        super().__init__(transport.fileno(), host, context)
        self.transport = transport
        self._port = port
        self.opened_at = context.clock.monotonic()
        self.bytes_in = 0
        self.end_reason: str | None = None
        self.codec: Codec = DialectDetector()
        self.outbox = Outbox(transport, context, self)
        self.session: Session = BaseSession(self, self.outbox, self.opened_at)
        self.paused = False
        self._owner = owner
        self._drained: LoopEvent | None = None
        self._watch: tcp_info.TcpWatch | None = None

    def __repr__(self) -> str:
        state = self.end_reason or "open"
        return f"<Connection {self.address} {self.codec.encoding.dialect} {state}, {self.session!r}>"

    def run(self) -> None:
        """Serve the peer until either side ends the connection, then clean up."""
        peer_closed = False
        try:
            peer_closed = self._serve()
        except Exception as error:  # noqa: BLE001  a bug of ours must not affect other connections
            self._report_internal_error(error, None)
            self.end_reason = self.end_reason or ErrorCode.INTERNAL
        self._watcher.stop()
        try:
            self._owner.on_disconnect(self)
            self._linger(peer_closed=peer_closed)
        finally:
            self._close()

    def _serve(self) -> bool:
        """Read until the connection ends; return whether the peer closed its side."""
        context = self._context
        recv = self.transport.recv
        router, wait_input = context.router, self._wait_input
        self._start_reading()
        while self.end_reason is None:
            try:
                wait_input()
                if context.reading_stopped:
                    self._wait_for_end()
                    break
                data = recv(READ_BYTES if self.bytes_in else FIRST_READ_BYTES)
            except BlockingIOError:
                continue
            except ReadInterrupted:
                break
            except OSError as error:
                self.end_reason = self.end_reason or _reset_reason(error)
                return True
            size = len(data)
            self.bytes_in += size
            if not size:
                items = self.codec.receive_eof()
                self._advance_codec()
                self._handle(items)
                self.end_reason = self.end_reason or "closed_by_peer"
                return True
            codec = self.codec
            items = codec.receive(data)
            unread_s = router.record_input(self.session, size)
            if codec.has_output or codec.successor is not None:
                self._advance_codec()
            if items:
                self._handle(items)
            if unread_s:
                self._leave_unread(unread_s)
            del codec, data, items  # while it waits, a reader keeps nothing of its last input alive
        return False

    def _handle(self, items: Sequence[Incoming]) -> None:
        context, outbox, turns = self._context, self.outbox, self._context.turns
        now, turn = context.clock.monotonic, self.share or turns
        many = len(items) > 1
        if many:
            outbox.cork()
        for item in items:
            if outbox.closed and isinstance(item, QUERY_COMMANDS):
                continue  # the peer cannot get the answer any more
            try:
                context.router.dispatch(self.session, item)
            except Exception as error:  # noqa: BLE001  a bug of ours must not end the session
                self._report_internal_error(error, item.ref)
            if isinstance(item, Fault) and item.close:
                self.end_reason = self.end_reason or item.code
            if outbox.queued_bytes > context.outbox_bytes // 2:
                self._wait_drained()
            if context.ingest.full:
                signal = self.new_signal()
                context.ingest.notify_when_space(signal)
                self.wait(signal)
            if many and now() > turn.slice_ends_at and (turn is not turns or turns.is_over()):
                outbox.uncork()
                try:
                    self._wait_turn()
                except ReadInterrupted:
                    break
            if self.end_reason is not None:  # possibly while this greenlet waited
                break
        if many:
            outbox.uncork()

    def _report_internal_error(self, error: Exception, ref: str | None) -> None:
        """Log the error with its context, and send the peer `internal`."""
        self._owner.on_failed(self, error)
        self.session.send_if_open(
            Error(
                code=ErrorCode.INTERNAL,
                message="internal server error; the outcome is unknown, retry with the same ref",
                ref=ref,
            )
        )

    def _advance_codec(self) -> None:
        """Send what the codec has to say, and go on with its successor, whose output follows."""
        codec = self.codec
        while True:
            if codec.has_output and (data := codec.output()):
                self.outbox.put(data)
            if codec.successor is None:
                break
            codec = codec.successor
        if codec is self.codec:
            return
        self.codec = codec
        self.session.encoding = codec.encoding
        if not codec.encoding.has_pings:
            enable_keepalive(self.transport)

    def _wait_drained(self) -> None:
        """Stop handling commands until the peer has read the answers to earlier ones."""
        self.outbox.uncork()
        if not self.outbox.queued_bytes or self.end_reason is not None:
            return
        self._drained = self._context.loop.new_event()
        self.paused = True
        self._drained.wait()
        self.paused = False
        self._drained = None

    def _leave_unread(self, seconds: float) -> None:
        """Read nothing for so long, unless the connection ends: TCP makes the peer wait, too."""
        context = self._context
        context.hub.stats.throttled += 1
        ends_at = context.clock.monotonic() + seconds
        self.paused = True
        while not self.outbox.closed and (left := ends_at - context.clock.monotonic()) > 0:
            self._drained = context.loop.new_event()  # a drained outbox sets it, too
            with context.loop.timeout(left):
                self._drained.wait()
        self._drained = None
        self.paused = False
        self.session.missed_pings = 0  # its pongs were not read

    def _wait_for_end(self) -> None:
        """Wait for `close_with_bye`, without reading: the server is stopping."""
        while self.end_reason is None:  # a drained outbox wakes it, too
            self._drained = self._context.loop.new_event()
            self._drained.wait()

    def _linger(self, *, peer_closed: bool) -> None:
        """Let the peer read its last bytes, and read its own, so that no reset overtakes the `bye`."""
        loop, outbox = self._context.loop, self.outbox
        with loop.timeout(max(CLOSE_LINGER_S, self._context.drain_timeout_s)):
            try:
                outbox.send_deferred()
                if outbox.queued_bytes:
                    self._drained = loop.new_event()
                    self._drained.wait()
                self.transport.shutdown(socket.SHUT_WR)
                if not peer_closed:
                    read_to_end(loop, self._watcher, self.transport)
            except OSError:
                return  # the peer has gone

    def _close(self) -> None:
        self._watcher.close()
        self.outbox.close()
        self.transport.close()
        self._owner.unregister(self)
        if self.session.link is self:  # break the cycle: the session may live on in a queue
            self.session.link, self.session.outbox = detached.LINK, detached.OUTBOX

    # The port `Link`: called by the core

    @property
    def address(self) -> str:
        """The peer's host and port."""
        return f"[{self.host}]:{self._port}" if ":" in self.host else f"{self.host}:{self._port}"

    @property
    def address_key(self) -> str:
        """The rate-limit key of the peer's address, empty if it is exempt from limits."""
        return self._context.address_limits.limited_key(self.host)

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Send `bye` and close, once all queued bytes are sent (`after`: seconds). Does not switch."""
        if not self.outbox.closed:  # else `bye` is queued already, or the peer has gone
            bye = Bye(reason=reason, message=message, after=after, ref=ref)
            self.outbox.put(self.session.encoding.encode(bye))
            self.outbox.close_input()
        self._context.backfill.mark_ready(self.session)  # stops a backfill that waits for this peer
        if self._drained is not None:
            self._drained.set()
        if self.end_reason is None:  # else it is ending already
            self._end(reason)

    def adopt(self, session: Session) -> None:
        """Serve a resumed session, in place of the one that sent the hello."""
        self.session = session
        session.link, session.outbox, session.encoding = self, self.outbox, self.codec.encoding

    def awaits_acknowledgement(self) -> bool:
        """Return whether the peer has yet to get its own message back, and still can."""
        session = self.session
        if self.outbox.closed or session.link is not self:
            return False
        return session.pending > 0 or (session.lagging is not None and session.lagging.owes_own_message())

    def bytes_written(self) -> int:
        """Return the bytes written to the peer so far, including those queued here and in the kernel."""
        unacknowledged = tcp_info.unacknowledged_bytes(self.transport)
        if unacknowledged is None:
            return 0
        return self.bytes_acked() + unacknowledged + self.outbox.queued_bytes

    def bytes_acked(self) -> int:
        """Return how many bytes the peer's kernel has acknowledged."""
        progress = tcp_info.progress(self.transport)
        return 0 if progress is None else progress[0]

    def made_progress(self) -> bool:
        """Return whether the peer has read bytes since the last call, as far as the kernel knows."""
        return self._tcp_watch().made_progress()

    def hello_delay(self) -> float:
        """Return 0, or the seconds until a hello of this connection will be accepted."""
        address_limits = self._context.address_limits
        wait = address_limits.hello_delay(self.host, self)
        if address_limits.floods_hellos(self):
            self.close_with_bye(
                ByeReason.FLOODING, "too many hello attempts before retry_after had elapsed", after=wait
            )
        return wait

    def record_failed_hello(self) -> None:
        """Count a failed hello for the peer's address."""
        self._context.address_limits.record_failed_hello(self.host)

    def tcp_rtt_ms(self) -> float | None:
        """Return the kernel's smoothed round-trip time in ms, as of a second ago at most."""
        return self._tcp_watch().rtt_ms(self._context.clock.monotonic())

    def _tcp_watch(self) -> tcp_info.TcpWatch:
        if self._watch is None:
            self._watch = tcp_info.TcpWatch(self.transport)
        return self._watch

    def wait(self, signal: Signal) -> None:
        """Send the answers so far, then wait for `signal`."""
        self.outbox.uncork()
        self.paused = True
        cast("LoopEvent", signal).wait()
        self._wait_turn_again()
        self.paused = False

    def new_signal(self) -> LoopEvent:
        """Return a new signal for `wait`."""
        return self._context.loop.new_event()

    # The port `OutboxOwner`: called by the outbox

    def on_drained(self) -> None:
        """Wake a reader that waits for its peer to read, and the backfill of the session."""
        if self._drained is not None:
            self._drained.set()
        if self.session.lagging is not None:
            self._context.backfill.mark_ready(self.session)

    def on_overflow(self) -> None:
        """End a connection whose outbox has overflowed, without a `bye`, which the peer would not read."""
        self._abort(ByeReason.STALLED)

    def on_send_failed(self, error: Exception) -> None:
        """End a connection to which nothing can be sent because of a bug, and report that."""
        self._owner.on_failed(self, error)
        self._abort(ErrorCode.INTERNAL)

    def _abort(self, reason: str) -> None:
        if self.end_reason is None:
            self.outbox.discard()
            self._end(reason)

    def _end(self, reason: str) -> None:
        self.end_reason = reason
        self._interrupt_wait()


def _reset_reason(error: OSError) -> str:
    return "reset" if isinstance(error, ConnectionResetError) else f"errno_{error.errno}"
