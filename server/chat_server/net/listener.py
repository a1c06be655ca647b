"""Accepts connections, and rejects those over the limits with a `bye`."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.server import StreamServer

from chat_protocol.dialects import ndjson
from chat_protocol.errors import ByeReason
from chat_protocol.events import Bye
from chat_server.net.address_limits import RETRY_AFTER_S, Rejection, address_key
from chat_server.net.connections import Connections
from chat_server.net.linger import read_to_end

LISTEN_BACKLOG: Final = 4096
NOTSENT_LOWAT_BYTES: Final = 128 * 1024
"""Unsent bytes that the kernel keeps for one peer, besides our outbox. Its own bound is megabytes (tcp(7),
tcp_wmem): ten thousand peers that do not read could use up all TCP memory."""
SPARE_DESCRIPTORS: Final = 64
"""Descriptors reserved for files, and for sending `bye` to connections beyond the maximum."""

REJECTED_LINGER_S: Final = 1.0
MAX_REJECTED_LINGERING: Final = SPARE_DESCRIPTORS // 2
"""Rejected connections that get time to read their `bye`; further ones are closed at once."""


class Listener(StreamServer):  # type: ignore[misc]  # gevent has no types
    """A StreamServer whose handlers get raw non-blocking sockets, one greenlet each.

    A full gevent Pool stops accepting, and new connections hang; this class counts connections itself, and
    sends `bye` to those beyond the maximum.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        *,
        max_connections: Callable[[], int],
        on_rejected: Callable[[str, str], None],
    ) -> None:
        super().__init__(listening, self._serve, spawn=gevent.spawn_raw)
        self._connections = connections
        self._max_connections = max_connections
        self._on_rejected = on_rejected
        self._rejected_lingering = 0

    def do_read(self) -> tuple[socket.socket, str, int] | None:
        """Accept one connection; return None if there is none."""
        try:
            sock, address = self.socket.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in {
                errno.ECONNABORTED,
                errno.EPROTO,
                errno.EPERM,
            }:  # closed before it was accepted
                return self.do_read()
            raise
        sock.setblocking(False)
        return sock, address[0], address[1]

    def do_handle(self, sock: socket.socket, host: str, port: int) -> None:
        """Start a greenlet for a connection, or reject it."""
        connections = self._connections
        if len(connections.registered) >= self._max_connections():
            rejection: Rejection | None = Rejection("the server is full", RETRY_AFTER_S)
        else:
            rejection = connections.context.address_limits.admit(host)
        if rejection is not None:
            self._reject(sock, address_key(host), rejection)
            return
        gevent.spawn_raw(connections.register(sock, host, port).run)

    def _serve(self, sock: socket.socket, host: str, port: int) -> None:
        """Unused: StreamServer demands a handler; see `do_handle`."""
        raise NotImplementedError

    def _reject(self, sock: socket.socket, address: str, rejection: Rejection) -> None:
        self._on_rejected(address, rejection.message)
        bye = Bye(
            reason=ByeReason.TOO_MANY_CONNECTIONS, message=rejection.message, after=rejection.retry_after_s
        )
        try:
            sock.send(ndjson.encode(bye))
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has gone
            sock.close()
            return
        if self._rejected_lingering >= MAX_REJECTED_LINGERING:
            sock.close()
            return
        self._rejected_lingering += 1
        gevent.spawn_raw(self._linger, sock)

    def _linger(self, sock: socket.socket) -> None:
        """Read until the peer has read its `bye` and closes: closing with unread input would reset it."""
        watcher = self._connections.context.loop.io(sock.fileno(), 1)
        try:
            with gevent.Timeout(REJECTED_LINGER_S, False):
                read_to_end(self._connections.context.loop, watcher, sock)
        except OSError:
            pass  # the peer has gone
        finally:
            watcher.close()
            sock.close()
            self._rejected_lingering -= 1


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on all addresses of `host` (IPv4 and IPv6), on one port; raise OSError.

    A name such as `localhost` may have several, and a client tries any of them first. Those that this machine
    does not have are left out, unless none is left.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(
                    _listen_on(family, (address[0], chosen, *address[2:]), dual=address[0] == "::")
                )
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                absent = error
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if absent is not None and not sockets:
        raise absent
    return sockets


def _listen_on(family: int, address: tuple[Any, ...], *, dual: bool) -> socket.socket:
    """Return a listening socket on one address; `dual`: an IPv6 one takes IPv4 clients, too."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit these. Telnet marks its data mark urgent, which then stays in the stream.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.bind(address)
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
