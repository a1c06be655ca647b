"""Connections on fakes of transport and loop, with the real core behind them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chat_protocol.events import ServerIdentity
from chat_server.core.assembly import Core
from chat_server.core.base.limits import Limits
from chat_server.core.delivery.observer import Observers
from chat_server.engines.memory import MemoryEngine
from chat_server.net.address_limits import AddressLimits, AddressLimitSettings
from chat_server.net.connection import Connection
from chat_server.net.connections import Connections
from chat_server.net.context import ConnectionContext
from chat_server.net.fan_out import FanOut
from support.fakes.fake_transport import FakeTransport, LoopPlayer

OUTBOX_BYTES = 1000
INGEST_BYTES = 2000


class ManualClock:
    """A clock that the test sets; each look advances it by `step` seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    time = monotonic


class Play:
    """One connection, its peer, and the rest of a server. `limited`: its address is not exempt."""

    def __init__(self, *, limited: bool = False) -> None:
        self.clock = ManualClock()
        self.wakes = 0
        self.ended: list[str | None] = []  # reasons of the connections that have ended
        self.errors: list[Exception] = []
        engine = MemoryEngine(1000, self.clock.time)
        self.loop = LoopPlayer()
        core = Core(
            server=ServerIdentity("greenroom", "0", "test"),
            address="",
            log=engine,
            registry=engine,
            clock=self.clock,
            fan_out=FanOut(self.loop, OUTBOX_BYTES),
            commit_wakeup=self,
            backfill_wakeup=self,
            observers=Observers(),
            limits=Limits(rate_messages=0, rate_bytes=0),
            ingest_bytes=INGEST_BYTES,
            store_patience=1.0,
            ping_interval=30.0,
            stalled_timeout=120.0,
        )
        self.hub, self.committer, self.router = core.hub, core.committer, core.router
        limits = AddressLimits(AddressLimitSettings(limit_loopback=limited), self.clock)
        self.context = ConnectionContext(
            router=self.router,
            hub=self.hub,
            ingest=core.ingest,
            clock=self.clock,
            loop=self.loop,
            address_limits=limits,
            outbox_bytes=OUTBOX_BYTES,
        )
        self.connections = Connections(
            self.context,
            hello_timeout=60.0,
            on_closed=lambda one: self.ended.append(one.end_reason),
            on_failed=lambda _, error: self.errors.append(error),
        )
        self.peer = FakeTransport()
        limits.admit("127.0.0.1")
        self.connection: Connection = self.connections.register(self.peer, "127.0.0.1", 4242)
        self.loop.serve(self.connection.run)

    def wake(self) -> None:
        """Count a wake-up of the commit loop or of the backfill."""
        self.wakes += 1

    def send(self, *items: bytes | type[OSError] | OSError) -> None:
        """Let the peer's bytes, one item a read, or an error arrive, and the connection read all of them."""
        for item in items:
            self.peer.input.append(item)
            assert self.loop.waits_for == "input", self.loop.waits_for
            self.loop.go_on()

    def hello(self, name: str = "ann") -> None:
        self.send(b'{"type":"hello","username":"%s"}\n' % name.encode())

    def read_on(self, space: int | None = None) -> None:
        """Let the peer read `space` more bytes, or all; the loop notices that it does."""
        self.peer.space = space
        for watcher in self.loop.watchers[1:]:
            for _ in range(100):
                if watcher.callback is None or self.peer.space == 0:
                    break
                watcher.callback()
            else:
                raise AssertionError("the outbox watches for writability, and does not write")
        self.loop.run_callbacks()

    def settle(self, done: Callable[[], bool]) -> None:
        """Commit, read and continue what waits for that, until `done`."""
        for _ in range(100):
            if done():
                return
            self.committer.commit()
            self.read_on()
            if self.loop.waits_for in {"event", "sleep"} and (
                self.loop.waits_for == "sleep" or self.loop.waiting.is_set
            ):
                self.loop.go_on()
        raise AssertionError(f"it waits for {self.loop.waits_for}")

    def is_paused(self) -> bool:
        """Whether the session is noted as not being read from."""
        return self.connection.paused

    @property
    def frames(self) -> list[dict[str, Any]]:
        """What the peer has received."""
        return [json.loads(line) for line in self.peer.sent.splitlines()]

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture(scope="session")
def make_play() -> type[Play]:
    return Play
