"""A pool of client connections on one epoll: opens, logs in, reads, answers pings.

It runs beside the server and must not slow it: edge-triggered, so that an idle socket costs the kernel
nothing, and with one shared buffer, so that a read allocates nothing.
"""

import resource
import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from chat_bench.peers.protocols import WireProtocol
from chat_bench.process import BenchError

RECEIVE_TIMEOUT_S: Final = 10.0
"""If nothing arrives for so long while something is due, the measurement has failed."""

BUFFER_BYTES: Final = 256 * 1024
"""More than any server here sends to one client at once."""

_CONNECTIONS_PER_ADDRESS: Final = 12_000
"""Connections per source address: well below Linux's default of 28,232 ephemeral ports."""

LOGINS_TIMEOUT_S: Final = 60.0
"""Deadline for all log-ins, or all joins, of a workload."""

_TAIL_BYTES: Final = 4096


def raise_descriptor_limit() -> int:
    """Raise this process's limit of open files to its hard limit; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class ClientPool:
    """The clients of one server; leaving the context closes them."""

    def __init__(self, port: int, protocol: WireProtocol) -> None:
        self.epoll: Final = select.epoll()
        self.buffer: Final = bytearray(BUFFER_BYTES)
        self.sockets: Final[dict[int, socket.socket]] = {}
        self.answered: Final[set[int]] = set()
        """Descriptors of the clients that have answered a ping of the server."""
        self._port = port
        self._protocol = protocol
        self._deadline = 0.0
        self._tails: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.epoll.close()
        for sock in self.sockets.values():
            sock.close()

    def open(self, logins: Iterable[bytes], answer: bytes) -> list[int]:
        """Connect and log in, one connection for each of `logins`; return their descriptors, in order.

        A login is done when `answer` has come, or with an empty `answer`, when the connection is established.
        At most `protocol.logins_at_once` wait at a time, so that no listen backlog overflows.
        """
        opened: list[int] = []
        waiting: set[int] = set()
        self._deadline = time.monotonic() + LOGINS_TIMEOUT_S
        for login in logins:
            while len(waiting) >= self._protocol.logins_at_once:
                self._take(waiting, answer)
            sock = self._connect()
            sock.send(login)
            opened.append(sock.fileno())
            if answer:
                waiting.add(sock.fileno())
        self._take_all(waiting, answer)
        return opened

    def ask(self, members: Sequence[int], request: bytes, answer: bytes) -> None:
        """Send `request` from each of `members`, as fast as the server answers, and wait for all answers."""
        waiting: set[int] = set()
        self._deadline = time.monotonic() + LOGINS_TIMEOUT_S
        for member in members:
            while len(waiting) >= self._protocol.logins_at_once:
                self._take(waiting, answer)
            self.sockets[member].send(request)
            waiting.add(member)
        self._take_all(waiting, answer)

    def idle(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Read input and answer pings for `seconds`, or until `until()` is true."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            self._take(set(), b"", min(left, 0.1))

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        try:
            # The port is chosen at connect: a port is then only taken per target address.
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            sock.bind((f"127.0.0.{1 + len(self.sockets) // _CONNECTIONS_PER_ADDRESS}", 0))
            sock.settimeout(RECEIVE_TIMEOUT_S)
            sock.connect(("127.0.0.1", self._port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            self.epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLET)
        except OSError as error:
            sock.close()
            raise BenchError(f"connection {len(self.sockets) + 1} was not accepted: {error}") from error
        self.sockets[sock.fileno()] = sock
        return sock

    def _take_all(self, waiting: set[int], answer: bytes) -> None:
        while waiting:
            self._take(waiting, answer)

    def _take(self, waiting: set[int], answer: bytes, timeout_s: float = RECEIVE_TIMEOUT_S) -> None:
        """Read input; remove clients that got their `answer` from `waiting`; answer the server's pings."""
        events = self.epoll.poll(timeout_s)
        if waiting and (not events or time.monotonic() > self._deadline):
            one = next(iter(waiting))
            said = self._tails.get(one, b"")[-300:]
            raise BenchError(f"{len(waiting)} clients got no {answer!r}; one of them got {said!r}")
        for fd, _ in events:
            data = self._tails.pop(fd, b"") + self._read(fd)
            if fd in waiting and answer in data:
                waiting.discard(fd)
            reply = self._protocol.answer(data)
            if reply:
                self.answered.add(fd)
                self.sockets[fd].send(reply)
            elif fd in waiting or not data.endswith(b"\n"):
                self._tails[fd] = data[-_TAIL_BYTES:]

    def _read(self, fd: int) -> bytes:
        """Return all input of `fd`."""
        parts: list[bytes] = []
        while True:
            try:
                size = self.sockets[fd].recv_into(self.buffer)
            except BlockingIOError:
                break
            except OSError as error:
                raise BenchError(f"the server cut a connection: {error}") from error
            if not size:
                said = b"".join(parts)[-300:]
                raise BenchError(f"the server closed a connection, after {said!r}")
            parts.append(bytes(memoryview(self.buffer)[:size]))
            if size < len(self.buffer):
                break
        return b"".join(parts)
