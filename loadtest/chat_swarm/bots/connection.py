"""One bot's connection: a non-blocking TCP socket on the event loop, with kernel receive timestamps.

It passes whole lines with their receive time to its owner; it never parses them. Nothing here blocks.
"""

import _socket
import errno
import fcntl
import os
import socket
import struct
import termios
import time
from typing import Final, Protocol

from chat_swarm.loop.event_loop import EventLoop
from chat_swarm.loop.native_epoll import EPOLLIN, EPOLLOUT
from chat_swarm.loop.rx_timestamps import ANCILLARY_BYTES, SO_TIMESTAMPNS

READ_BYTES: Final = 65536
MAX_LINE_BYTES: Final = 65536
"""A longer line is not a line of the protocol; the connection is closed."""
_unpack_timespec = struct.Struct("qq").unpack
_CONNECT_PENDING: Final = frozenset({0, errno.EINPROGRESS, errno.EINTR})
_BIND_ADDRESS_NO_PORT: Final = 24  # ip(7): the port is chosen at connect(2), for its target

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class ConnectionOwner(Protocol):
    """Callbacks of a connection. They MUST NOT block."""

    def on_connected(self) -> None:
        """Take over the connection, which is established; called once."""

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Handle whole lines; the kernel received the last byte at `received_ns`, ns since the epoch.

        If not `exact`, that byte may belong to a line that is still incomplete: these lines came then or
        before.
        """

    def on_writable(self) -> None:
        """Continue to send: the kernel has taken everything passed to `send`."""

    def on_lost(self, reason: str) -> None:
        """Handle the loss of the connection, which is closed; `reason` is an errno name or a code."""


class UnstampedCounter(Protocol):
    """Counts reads without a kernel timestamp."""

    unstamped_reads: int


class BotConnection:
    """A single TCP connection; MUST NOT be used again once closed."""

    __slots__ = (
        "_counter",
        "_established",
        "_loop",
        "_owner",
        "_partial_line",
        "_sock",
        "_unsent",
        "blocked",
        "fd",
        "paused",
    )

    def __init__(self, owner: ConnectionOwner, loop: EventLoop, counter: UnstampedCounter) -> None:
        self._owner: ConnectionOwner | None = owner
        self._loop = loop
        self._counter = counter
        self._sock: _socket.socket | None = None
        self._partial_line = b""
        self._unsent = b""
        self._established = False
        self.fd = -1
        self.blocked = False
        """Whether the socket buffer is full: `send` then queues."""
        self.paused = False
        """Whether only `read_some` reads."""

    def connect(self, address: SocketAddress, source: str | None, receive_buffer_bytes: int = 0) -> None:
        """Start to connect, from the local address `source` if given. Raises OSError if that fails at once.

        `receive_buffer_bytes`: size of the kernel's receive buffer (SO_RCVBUF, socket(7)); 0: the kernel's
        default.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = _socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            if source is not None:
                sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                sock.bind((source, 0))
            code = sock.connect_ex(address)
        except OSError:
            sock.close()
            raise
        if code not in _CONNECT_PENDING:
            sock.close()
            raise OSError(code, os.strerror(code))
        self._loop.watch(sock.fileno(), EPOLLOUT, self._on_connect_done)
        self._sock = sock
        self.fd = sock.fileno()

    def has_unread(self) -> bool:
        """Return whether bytes have arrived that were not read yet, or no whole line of them."""
        if self._sock is None:
            return False
        return bool(self._partial_line) or any(fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))

    def send(self, data: bytes) -> None:
        """Send now, as far as the kernel takes it, and the rest as soon as it does."""
        if self._sock is None:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            taken = self._sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self._fail(_error_name(error))
            return
        if taken < len(data):
            self._unsent = data[taken:]
            self.blocked = True
            self._update_interest()

    def pause_reading(self) -> None:
        """Stop reading, except by `read_some`."""
        self.paused = True
        self._update_interest()

    def resume_reading(self) -> None:
        """Read everything that arrives again."""
        self.paused = False
        self._update_interest()

    def read_some(self, size: int) -> None:
        """Read at most `size` bytes now."""
        self._receive(size)

    def close(self) -> None:
        """Close without a callback; unsent data is lost."""
        self._owner = None
        self._close_socket()

    def reset(self) -> None:
        """Close with a TCP reset (SO_LINGER 0, socket(7)): data in flight is lost in both directions."""
        if self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _on_connect_done(self, _: int) -> None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(errno.errorcode.get(code, str(code)))
            return
        self._loop.handlers[self.fd] = self._on_ready
        self._established = True
        self._update_interest()
        if self._owner is not None:
            self._owner.on_connected()

    def _on_ready(self, mask: int) -> None:
        if mask & EPOLLOUT:
            self._flush()
        if mask & ~EPOLLOUT:  # data, a hang-up or an error: recvmsg(2) shows which
            self._receive(READ_BYTES)

    def _receive(self, size: int) -> None:
        sock, owner = self._sock, self._owner
        if sock is None or owner is None:
            return
        try:
            data, ancillary, _, _ = sock.recvmsg(size, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_error_name(error))
            return
        seen = time.time_ns()
        if not data:
            self._fail("EOF")
            return
        if ancillary:
            seconds, nanoseconds = _unpack_timespec(ancillary[0][2])
            received = seconds * 1_000_000_000 + nanoseconds
        else:
            received = seen
            self._counter.unstamped_reads += 1
        exact = len(data) < size
        if not exact and not self.paused:
            self._loop.has_backlog = True
        if self._partial_line:
            data = self._partial_line + data
            self._partial_line = b""
        if data[-1] != 10:  # the last line is incomplete
            exact = False
            end = data.rfind(b"\n") + 1
            self._partial_line = data[end:]
            if len(self._partial_line) > MAX_LINE_BYTES:
                self._fail("endless_line_from_server")
                return
            if not end:
                return
            data = data[:end]
        owner.on_lines(data, received, seen, exact)

    def _flush(self) -> None:
        if self._sock is None or not self._unsent:
            return
        try:
            taken = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_error_name(error))
            return
        self._unsent = self._unsent[taken:]
        if not self._unsent:
            self.blocked = False
            self._update_interest()
            if self._owner is not None:
                self._owner.on_writable()

    def _update_interest(self) -> None:
        if self._sock is not None and self._established:  # before, EPOLLOUT means connect(2) is done
            self._loop.modify(self.fd, (0 if self.paused else EPOLLIN) | (EPOLLOUT if self._unsent else 0))

    def _fail(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        self._close_socket()
        if owner is not None:
            owner.on_lost(reason)

    def _close_socket(self) -> None:
        if self._sock is not None:
            self._loop.unwatch(self.fd)
            self._sock.close()
            self._sock = None


def _error_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
