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
from chat_server.net.address_limits import AddressLimits
from chat_server.net.connection import Connection


class Connections:
    """What all connections share: the core behind the door, the loop, and what is to be said in the log."""

    def __init__(
        self,
        *,
        router: Router,
        hub: Hub,
        ingest: Ingest,
        clock: Clock,
        address_limits: AddressLimits,
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
        self.address_limits = address_limits
        self.outbox_bytes = outbox_bytes
        self.gevent_hub = gevent.get_hub()
        self.loop: Any = self.gevent_hub.loop
        self.registered: dict[Connection, None] = {}
        self.unnamed: dict[Connection, float] = {}  # -> when their time is up, in order
        self._bytes_direct_closed = 0  # to connections that have gone
        self.reading_stopped = False
        self.on_failed = on_failed
        self._on_closed = on_closed
        self._hello_timeout_s = hello_timeout

    def register(self, sock: socket.socket, host: str, port: int) -> Connection:
        """Take in a connection that its address has been counted for."""
        connection = Connection(sock, host, port, self)
        self.registered[connection] = None
        self.unnamed[connection] = connection.opened_at + self._hello_timeout_s
        return connection

    def stop_reading(self) -> None:
        """Take no more commands from anybody: the server is stopping."""
        self.reading_stopped = True

    def on_disconnect(self, connection: Connection) -> None:
        """Let the session go, once what it said is stored; it may come back, if it did not say good-bye."""
        session = connection.session
        try:
            self.hub.settle(session)
            if session.record is None:
                self.hub.part(session)
            self._on_closed(connection)
        finally:
            self.hub.depart(session)

    def unregister(self, connection: Connection) -> None:
        """Forget a closed connection."""
        if self.registered.pop(connection, 0) is None:
            self._bytes_direct_closed += connection.bytes_direct
        self.unnamed.pop(connection, None)
        self.address_limits.release(connection.host, connection)

    def bytes_direct(self) -> int:
        """Return the bytes handed to single connections since the start: answers, pings, byes."""
        return self._bytes_direct_closed + sum(connection.bytes_direct for connection in self.registered)

    def end_hello_timeouts(self) -> None:
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
                seconds = f"{self._hello_timeout_s:g} seconds"
                connection.end(
                    ByeReason.HELLO_TIMEOUT, f"nothing was said for {seconds}; type a line, or say hello"
                )
