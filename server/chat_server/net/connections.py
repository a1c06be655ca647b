"""The registry of connections, and the objects that all of them share."""

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
    """The registered connections, and what they share: the core, the event loop, limits and callbacks.

    `hello_timeout`: seconds, above 0, from the connection's opening to its hello.
    """

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
        self.backfill = hub.backfill
        self.ingest = ingest
        self.clock = clock
        self.address_limits = address_limits
        self.outbox_bytes = outbox_bytes
        self.gevent_hub = gevent.get_hub()
        self.loop: Any = self.gevent_hub.loop
        self.registered: dict[Connection, None] = {}
        self.unnamed: dict[Connection, float] = {}  # -> deadline for hello, ascending
        self._bytes_direct_closed = 0  # sent to connections that have closed
        self.reading_stopped = False
        self.drain_timeout_s = 0.0  # while the server does not stop
        self.on_failed = on_failed
        self._on_closed = on_closed
        self._hello_timeout_s = hello_timeout

    def register(self, sock: socket.socket, host: str, port: int) -> Connection:
        """Return a new, registered connection; its address must have been admitted."""
        connection = Connection(sock, host, port, self)
        self.registered[connection] = None
        self.unnamed[connection] = connection.opened_at + self._hello_timeout_s
        return connection

    def stop_reading(self, drain_timeout: float) -> None:
        """Read no more commands from any connection: the server stops within `drain_timeout` seconds."""
        self.reading_stopped = True
        self.drain_timeout_s = drain_timeout

    def on_disconnect(self, connection: Connection) -> None:
        """Detach the session once its messages are stored; without a `quit` it may be resumed. May wait."""
        session = connection.session
        try:
            self.hub.wait_own_delivered(session)
            if session.record is None:
                self.hub.persist_closings(session)
            self._on_closed(connection)
        finally:
            self.hub.disconnect(session)

    def unregister(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if self.registered.pop(connection, 0) is None:
            self._bytes_direct_closed += connection.bytes_direct
        self.unnamed.pop(connection, None)
        self.address_limits.release(connection.host, connection)

    def bytes_direct(self) -> int:
        """Return the bytes sent to single connections since the start: answers, pings, `bye`."""
        return self._bytes_direct_closed + sum(connection.bytes_direct for connection in self.registered)

    def end_hello_timeouts(self) -> None:
        """End connections without a hello whose deadline has passed."""
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
                connection.close_with_bye(
                    ByeReason.HELLO_TIMEOUT, f"no hello within {seconds}; type a line, or send hello"
                )
