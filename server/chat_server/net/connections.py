"""The registry of connections: those that are open, and those that have not said hello yet."""

from __future__ import annotations

from collections.abc import Callable

from chat_protocol.errors import ByeReason
from chat_server.net.connection import Connection
from chat_server.net.context import ConnectionContext
from chat_server.net.transport import Transport


class Connections:
    """The registered connections. `hello_timeout`: seconds, above 0, from the opening to the hello."""

    def __init__(
        self,
        context: ConnectionContext,
        *,
        hello_timeout: float,
        on_closed: Callable[[Connection], None],
        on_failed: Callable[[Connection, Exception], None],
    ) -> None:
        self.context = context
        self.registered: dict[Connection, None] = {}
        self.unnamed: dict[Connection, float] = {}  # -> deadline for hello, ascending
        self.on_failed = on_failed
        self._on_closed = on_closed
        self._hello_timeout_s = hello_timeout
        self._bytes_direct_closed = 0  # sent to connections that have closed

    def register(self, transport: Transport, host: str, port: int) -> Connection:
        """Return a new, registered connection; its address must have been admitted."""
        connection = Connection(transport, host, port, self.context, self)
        self.registered[connection] = None
        self.unnamed[connection] = connection.opened_at + self._hello_timeout_s
        return connection

    def on_disconnect(self, connection: Connection) -> None:
        """Detach the session once its messages are stored; without a `quit` it may be resumed. May wait."""
        session = connection.session
        try:
            self.context.hub.wait_own_delivered(session)
            if session.record is None:
                self.context.hub.lifecycle.persist_closings(session)
            self._on_closed(connection)
        finally:
            self.context.hub.lifecycle.disconnect(session)

    def unregister(self, connection: Connection) -> None:
        """Remove a closed connection."""
        if self.registered.pop(connection, 0) is None:
            self._bytes_direct_closed += connection.outbox.bytes_direct
        self.unnamed.pop(connection, None)
        self.context.address_limits.release(connection.host, connection)

    def bytes_direct(self) -> int:
        """Return the bytes sent to single connections since the start: answers, pings, `bye`."""
        return self._bytes_direct_closed + sum(one.outbox.bytes_direct for one in self.registered)

    def end_hello_timeouts(self) -> None:
        """End connections without a hello whose deadline has passed."""
        now = self.context.clock.monotonic()
        late = []
        for connection, deadline in self.unnamed.items():
            if deadline > now:
                break
            late.append(connection)
        for connection in late:
            del self.unnamed[connection]
            if not connection.session.id:
                number = self._hello_timeout_s
                seconds = "1 second" if number == 1 else f"{number:g} seconds"
                connection.close_with_bye(
                    ByeReason.HELLO_TIMEOUT, f"no hello within {seconds}; type a line, or send hello"
                )
