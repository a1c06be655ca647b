"""What all connections share: the core, the event loop, the limits. Knows no connection."""

from __future__ import annotations

from chat_server.core.chat.hub import Hub
from chat_server.core.commands.router import Router
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.ports.clock import Clock
from chat_server.net.address_limits import AddressLimits
from chat_server.net.event_loop import EventLoop
from chat_server.net.turns import AddressShare, Turns


class ConnectionContext:
    """The shared objects. `outbox_bytes`: the bound of each outbox."""

    def __init__(
        self,
        *,
        router: Router,
        hub: Hub,
        ingest: Ingest,
        clock: Clock,
        loop: EventLoop,
        address_limits: AddressLimits,
        outbox_bytes: int,
    ) -> None:
        self.router = router
        self.hub = hub
        self.backfill = hub.backfill
        self.ingest = ingest
        self.clock = clock
        self.address_limits = address_limits
        self.outbox_bytes = outbox_bytes
        self.loop = loop
        self.turns = Turns(loop, clock)
        self.reading_stopped = False
        self.drain_timeout_s = 0.0  # while the server does not stop

    def new_share(self, host: str) -> AddressShare | None:
        """Return the share of each round that a new connection from `host` takes part in.

        None: it has none, as its address is exempt from limits, or there are none per address.
        """
        limited = self.hub.limits.rate_address_factor > 0
        return self.turns.share_of(self.address_limits.limited_key(host) if limited else "")

    def stop_reading(self, drain_timeout: float) -> None:
        """Read no more commands from any connection: the server stops within `drain_timeout` seconds."""
        self.reading_stopped = True
        self.drain_timeout_s = drain_timeout
