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

from chat_swarm.loop.event_loop import Reactor
from chat_swarm.loop.native_epoll import EPOLLIN, EPOLLOUT
from chat_swarm.loop.rx_timestamps import ANCILLARY, SO_TIMESTAMPNS

READ_BYTES: Final = 65536
LINE_BYTES: Final = 65536
"""More than that is no line of the protocol, and is not waited for."""
_timespec = struct.Struct("qq").unpack
_PENDING: Final = frozenset({0, errno.EINPROGRESS, errno.EINTR})
_BIND_ADDRESS_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT: the port is chosen at connect, by target

Address = tuple[str, int] | tuple[str, int, int, int]


class Owner(Protocol):
    """What a connection tells its bot. None of these may block."""

    def connected(self) -> None:
        """Go on: the connection stands."""

    def read(self, data: bytes, received_ns: int, seen_ns: int, exact: bool) -> None:
        """Take whole lines. The kernel received the last byte at `received_ns`, since the epoch.

        Unless `exact`, that may be a byte of what is not handed over yet: the lines came then or before.
        """

    def writable(self) -> None:
        """Send on: all that was given to `send` has left."""

    def lost(self, reason: str) -> None:
        """Do without: the connection is gone and closed already."""


class Clocked(Protocol):
    """Where reads without a stamp are counted."""

    unstamped: int


class Wire:
    """A connection of its own for each life of a bot; once closed it is not used again."""

    __slots__ = (
        "_clocked",
        "_open",
        "_out",
        "_owner",
        "_reactor",
        "_sock",
        "_tail",
        "blocked",
        "fd",
        "paused",
    )

    def __init__(self, owner: Owner, reactor: Reactor, clocked: Clocked) -> None:
        self._owner: Owner | None = owner
        self._reactor = reactor
        self._clocked = clocked
        self._sock: _socket.socket | None = None
        self._tail = b""
        self._out = b""
        self._open = False
        self.fd = -1
        self.blocked = False
        """Whether the kernel has not taken all: what is sent now waits."""
        self.paused = False
        """Whether nothing is read but by `sip`."""

    def connect(self, address: Address, source: str | None, buffer: int = 0) -> None:
        """Begin to connect; OSError if that fails at once.

        With `buffer` the kernel takes about so many bytes before they are read, else as many as it likes.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sock = _socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            if source is not None:
                sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                sock.bind((source, 0))
            code = sock.connect_ex(address)
        except OSError:
            sock.close()
            raise
        if code not in _PENDING:
            sock.close()
            raise OSError(code, os.strerror(code))
        self._reactor.watch(sock.fileno(), EPOLLOUT, self._opening)
        self._sock = sock
        self.fd = sock.fileno()

    def send(self, data: bytes) -> None:
        """Send, at once or as soon as the kernel takes it."""
        if self._sock is None:
            return
        if self._out:
            self._out += data
            return
        try:
            taken = self._sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self._end(_reason(error))
            return
        if taken < len(data):
            self._out = data[taken:]
            self.blocked = True
            self._watch()

    def pause(self) -> None:
        """Read nothing more but by `sip`."""
        self.paused = True
        self._watch()

    def go_on(self) -> None:
        """Read whatever comes again."""
        self.paused = False
        self._watch()

    def sip(self, size: int) -> None:
        """Read at most `size` bytes now."""
        self._receive(size)

    def close(self) -> None:
        """Close without a word to the bot; what has not been sent is lost."""
        self._owner = None
        self._shut()

    def cut(self) -> None:
        """Close like a cable that is pulled: the peer gets a reset, and neither side any more bytes."""
        if self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _opening(self, _: int) -> None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._end(errno.errorcode.get(code, str(code)))
            return
        self._reactor.handlers[self.fd] = self._ready
        self._open = True
        self._watch()
        if self._owner is not None:
            self._owner.connected()

    def _ready(self, mask: int) -> None:
        if mask & EPOLLOUT:
            self._flush()
        if mask & ~EPOLLOUT:  # data, a hang-up or an error: reading tells which
            self._receive(READ_BYTES)

    def _receive(self, size: int) -> None:
        sock, owner = self._sock, self._owner
        if sock is None or owner is None:
            return
        try:
            data, ancillary, _, _ = sock.recvmsg(size, ANCILLARY)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(_reason(error))
            return
        seen = time.time_ns()
        if not data:
            self._end("EOF")
            return
        if ancillary:
            seconds, nanoseconds = _timespec(ancillary[0][2])
            received = seconds * 1_000_000_000 + nanoseconds
        else:
            received = seen
            self._clocked.unstamped += 1
        exact = len(data) < size
        if not exact and not self.paused:
            self._reactor.behind = True
        if self._tail:
            data = self._tail + data
            self._tail = b""
        if data[-1] != 10:  # a line goes on in the next read
            exact = False
            end = data.rfind(b"\n") + 1
            self._tail = data[end:]
            if len(self._tail) > LINE_BYTES:
                self._end("endless_line_from_server")
                return
            if not end:
                return
            data = data[:end]
        owner.read(data, received, seen, exact)

    def _flush(self) -> None:
        if self._sock is None or not self._out:
            return
        try:
            taken = self._sock.send(self._out)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(_reason(error))
            return
        self._out = self._out[taken:]
        if not self._out:
            self.blocked = False
            self._watch()
            if self._owner is not None:
                self._owner.writable()

    def _watch(self) -> None:
        if self._sock is not None and self._open:  # until then, it is watched for being open
            self._reactor.change(self.fd, (0 if self.paused else EPOLLIN) | (EPOLLOUT if self._out else 0))

    def _end(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        self._shut()
        if owner is not None:
            owner.lost(reason)

    def _shut(self) -> None:
        if self._sock is not None:
            self._reactor.forget(self.fd)
            self._sock.close()
            self._sock = None


def _reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error))
