"""The core, put together: the ports are handed in, each part is made once and knows those made before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_server.core.chat.hub import Hub
from chat_server.core.commands.router import Router
from chat_server.core.delivery.committer import Committer
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.publisher import Publisher
from chat_server.core.sessions.resumable import RESUME_HOLD_S

if TYPE_CHECKING:
    from chat_protocol.events import ServerIdentity
    from chat_server.core.base.limits import Limits
    from chat_server.core.delivery.observer import Observers
    from chat_server.core.ports.clock import Clock
    from chat_server.core.ports.link import FanOut
    from chat_server.core.ports.log import Log
    from chat_server.core.ports.registry import Registry
    from chat_server.core.ports.wakeup import Wakeup


class Core:
    """The parts of the core. Raises `StoreUnavailable` if the registry cannot be read.

    `ingest_bytes`: bound of the queue. `store_patience`, `ping_interval`, `stalled_timeout` and `resume_hold`
    are in seconds (chat/hub.py, delivery/committer.py).
    """

    def __init__(
        self,
        *,
        server: ServerIdentity,
        address: str,
        log: Log,
        registry: Registry,
        clock: Clock,
        fan_out: FanOut,
        commit_wakeup: Wakeup,
        backfill_wakeup: Wakeup,
        observers: Observers,
        limits: Limits,
        ingest_bytes: int,
        store_patience: float,
        ping_interval: float,
        stalled_timeout: float,
        resume_hold: float = RESUME_HOLD_S,
    ) -> None:
        self.ingest = Ingest(commit_wakeup, max_bytes=ingest_bytes)
        self.hub = hub = Hub(
            server=server,
            address=address,
            log=log,
            registry=registry,
            ingest=self.ingest,
            backfill_wakeup=backfill_wakeup,
            observers=observers,
            clock=clock,
            fan_out=fan_out,
            limits=limits,
            ping_interval=ping_interval,
            stalled_timeout=stalled_timeout,
            resume_hold=resume_hold,
        )
        self.publisher = Publisher(
            clock,
            lambda: hub.stats,
            observers=observers,
            on_opening_done=hub.openings.finish_opening,
            reopen=hub.openings.reopen,
            fan_out=fan_out,
        )
        self.committer = Committer(
            log,
            registry,
            self.ingest,
            self.publisher,
            clock,
            lambda: hub.stats,
            patience_s=store_patience,
        )
        self.router = Router(hub)
