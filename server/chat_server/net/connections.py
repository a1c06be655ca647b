"""The registry of connections, and what all of them share."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent

from chat_protocol.errors import ByeReason
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.router import Router
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.ports.clock import Clock
from chat_server.net.address_limits import Addresses
from chat_server.net.connection import Connection


class Reception:
    """What all connections share: the core behind the door, the loop, and what is to be said in the log."""

    def __init__(
        self,
        *,
        router: Router,
        hub: Hub,
        ingest: Ingest,
        clock: Clock,
        addresses: Addresses,
        outbox_bytes: int,
        hello_timeout: float,
        on_closed: Callable[[Connection], None],
        on_failed: Callable[[Connection, Exception], None],
    ) -> None:
        self.router = router
        self.hub = hub
        self.feeder = hub.feeder
        self.ingest = ingest
        self.clock = clock
        self.addresses = addresses
        self.outbox_bytes = outbox_bytes
        self.gevent_hub = gevent.get_hub()
        self.loop: Any = self.gevent_hub.loop
        self.connections: dict[Connection, None] = {}
        self.unnamed: dict[Connection, float] = {}  # -> when their time is up, in order
        self._bytes_direct = 0  # to connections that have gone
        self.holding = False
        self.failed = on_failed
        self._on_closed = on_closed
        self._hello_timeout = hello_timeout

    def take(self, sock: socket.socket, host: str, port: int) -> Connection:
        """Take in a connection that its address has been counted for."""
        connection = Connection(sock, host, port, self)
        self.connections[connection] = None
        self.unnamed[connection] = connection.opened_at + self._hello_timeout
        return connection

    def hold(self) -> None:
        """Take no more commands from anybody: the server is stopping."""
        self.holding = True

    def leave(self, connection: Connection) -> None:
        """Let the session go, once what it said is stored; it may come back, if it did not say good-bye."""
        session = connection.session
        try:
            self.hub.settle(session)
            if session.record is None:
                self.hub.part(session)
            self._on_closed(connection)
        finally:
            self.hub.depart(session)

    def gone(self, connection: Connection) -> None:
        """Forget a closed connection."""
        if self.connections.pop(connection, 0) is None:
            self._bytes_direct += connection.bytes_direct
        self.unnamed.pop(connection, None)
        self.addresses.leave(connection.host, connection)

    def bytes_direct(self) -> int:
        """Return the bytes handed to single connections since the start: answers, pings, byes."""
        return self._bytes_direct + sum(connection.bytes_direct for connection in self.connections)

    def end_silent(self) -> None:
        """End connections that have not said who they are in time."""
        now = self.clock.monotonic()
        late = []
        for connection, deadline in self.unnamed.items():
            if deadline > now:
                break
            late.append(connection)
        for connection in late:
            del self.unnamed[connection]
            if not connection.session.id:
                seconds = f"{self._hello_timeout:g} seconds"
                connection.end(
                    ByeReason.HELLO_TIMEOUT, f"nothing was said for {seconds}; type a line, or say hello"
                )
