"""One bot's connection: a raw non-blocking socket on the reactor, with the kernel's stamps of what comes.

Knows the socket. Must not know what frames mean; it tells its bot of bytes, moments and ends.
"""

import _socket
import errno
import os
import socket
import struct
import time
from typing import Final, Protocol

from chat_swarm.loop.event_loop import EventLoop
from chat_swarm.loop.native_epoll import EPOLLIN, EPOLLOUT
from chat_swarm.loop.rx_timestamps import ANCILLARY_BYTES, SO_TIMESTAMPNS

READ_BYTES: Final = 65536
MAX_LINE_BYTES: Final = 65536
"""More than that is no line of the protocol, and is not waited for."""
_unpack_timespec = struct.Struct("qq").unpack
_CONNECT_PENDING: Final = frozenset({0, errno.EINPROGRESS, errno.EINTR})
_BIND_ADDRESS_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, by target

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class ConnectionOwner(Protocol):
    """What a connection tells its bot. None of these may block."""

    def on_connected(self) -> None:
        """Go on: the connection stands."""

    def on_lines(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take whole lines. The kernel received the last byte at `received_ns`, since the epoch.

        Unless `exact`, that may be a byte of what is not handed over yet: the lines came then or before.
        """

    def on_writable(self) -> None:
        """Send on: all that was given to `send` has left."""

    def on_lost(self, reason: str) -> None:
        """Do without: the connection is gone and closed already."""


class UnstampedCounter(Protocol):
    """Where reads without a stamp are counted."""

    unstamped_reads: int


class BotConnection:
    """A connection of its own for each life of a bot; once closed it is not used again."""

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
        """Whether the kernel has not taken all: what is sent now waits."""
        self.paused = False
        """Whether nothing is read but by `sip`."""

    def connect(self, address: SocketAddress, source: str | None, receive_buffer_bytes: int = 0) -> None:
        """Begin to connect; OSError if that fails at once.

        With `buffer` the kernel takes about so many bytes before they are read, else as many as it likes.
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

    def send(self, data: bytes) -> None:
        """Send, at once or as soon as the kernel takes it."""
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
        """Read nothing more but by `sip`."""
        self.paused = True
        self._update_interest()

    def resume_reading(self) -> None:
        """Read whatever comes again."""
        self.paused = False
        self._update_interest()

    def read_some(self, size: int) -> None:
        """Read at most `size` bytes now."""
        self._receive(size)

    def close(self) -> None:
        """Close without a word to the bot; what has not been sent is lost."""
        self._owner = None
        self._close_socket()

    def reset(self) -> None:
        """Close like a cable that is pulled: the peer gets a reset, and neither side any more bytes."""
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
        if mask & ~EPOLLOUT:  # data, a hang-up or an error: reading tells which
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
        if data[-1] != 10:  # a line goes on in the next read
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
        if self._sock is not None and self._established:  # until then, it is watched for being open
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
