"""The composition root: builds the server from its parts, starts it, and stops it without losing messages.

Tests use it, too: `Server(config, log).start()`, then `stop()`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from chat_protocol.events import ServerIdentity
from chat_server import __version__
from chat_server.core.assembly import Core
from chat_server.core.delivery.observer import Observers
from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.factory import CannotStart, open_engine
from chat_server.jobs.backfill_loop import BackfillLoop, BackfillWakeup
from chat_server.jobs.commit_loop import CommitLoop, CommitWakeup
from chat_server.jobs.drain import drain
from chat_server.jobs.maintenance import StoreMaintenance
from chat_server.jobs.ticker import TICK_INTERVAL_S, Ticker, repeat_every
from chat_server.net.address_limits import AddressLimits
from chat_server.net.connections import Connections
from chat_server.net.context import ConnectionContext
from chat_server.net.event_loop import GeventLoop
from chat_server.net.fan_out import FanOut
from chat_server.net.listener import SPARE_DESCRIPTORS, Listener
from chat_server.observability.core_log import CoreLog, MessageLog
from chat_server.observability.event_log import EventLogger
from chat_server.observability.failure_log import FailureLog
from chat_server.observability.interval_report import IntervalReport
from chat_server.observability.log_reporter import LogReporter
from chat_server.observability.loop_watchdog import LoopLagMeter, LoopWatchdog
from chat_server.observability.metrics.health import Health, Phase
from chat_server.observability.metrics.snapshot import MetricsCollector, Value
from chat_server.settings.load import Config
from chat_server.startup import (
    address_limits_of,
    limits_of,
    listen_or_fail,
    notify_service_manager,
    raise_descriptor_limit,
)
from chat_server.system_clock import SystemClock
from chat_server.vocabulary import LogEvent

if TYPE_CHECKING:
    from chat_server.observability.metrics.http import MetricsServer


class Server:
    """A server process, from its settings to its last log line."""

    def __init__(self, config: Config, log: EventLogger) -> None:
        """Open the store and the port. Raises `CannotStart` with one line for the user if that fails."""
        self.config = config
        self.log = log.logger
        self.sink = log.sink
        self.clock = SystemClock()
        self.stopped = Event()
        self._stopping = False
        self._started_at = self.clock.monotonic()
        self._descriptors = raise_descriptor_limit()
        self._open_ports(config)
        commit_wakeup, backfill_wakeup = CommitWakeup(), BackfillWakeup()
        loop = GeventLoop()
        fan_out = FanOut(loop, config.outbox_bytes)
        self.core = self._build_core(config, fan_out, commit_wakeup, backfill_wakeup)
        hub, committer = self.core.hub, self.core.committer
        self.reporter = LogReporter(self.log, hub, self.store.disk_sizes)
        failures = FailureLog(self.log, self.sink)
        self.connections = Connections(
            ConnectionContext(
                router=self.core.router,
                hub=hub,
                ingest=self.core.ingest,
                clock=self.clock,
                loop=loop,
                address_limits=AddressLimits(address_limits_of(config), self.clock),
                outbox_bytes=config.outbox_bytes,
            ),
            hello_timeout=config.hello_timeout,
            on_closed=self.reporter.session_closed,
            on_failed=self.reporter.connection_failed,
        )
        self.listeners = [
            Listener(
                sock,
                self.connections,
                max_connections=self._max_connections,
                on_rejected=self.reporter.connection_rejected,
            )
            for sock in self._listening
        ]
        self.commit_loop = CommitLoop(
            self.log, self.store.location, self.core.ingest, committer, commit_wakeup
        )
        self.backfill_loop = BackfillLoop(self.log, hub.backfill, backfill_wakeup)
        self.maintenance = StoreMaintenance(
            self.log,
            self.store,
            self.commit_loop,
            disk_warning_bytes=config.disk_warning_bytes,
            retention_messages=config.retention_messages,
            retention_seconds=config.retention_seconds,
            clock=self.clock.time,
            on_trimmed=hub.trim_tails,
        )
        self.ticker = Ticker(self.log, hub, self.connections)
        self.loop_lag = LoopLagMeter()
        self.watchdog = LoopWatchdog(self.loop_lag, failures.loop_blocked, failures.loop_unblocked)
        self.health = Health(committer, self.loop_lag, self.clock, lambda: self.store.unreadable_messages)
        self.metrics_server: MetricsServer | None = None
        metrics: MetricsCollector | None = None
        if self._metrics_listening:
            metrics = MetricsCollector(
                self._constant_metrics(),
                hub,
                committer,
                self.connections,
                self.store.disk_sizes,
                self.sink,
                self.health,
                self._max_connections,
            )
            # Only here: the library of the exposition formats takes a tenth of the time to start.
            from chat_server.observability.metrics.http import MetricsServer  # noqa: PLC0415

            self.metrics_server = MetricsServer(
                self._metrics_listening,
                (config.metrics_host, socket.gethostname()),
                metrics.take_snapshot,
                self.health.not_ready_reason,
                failures.internal_error,
                warning=self.health.warning,
            )
        self.report = IntervalReport(self.log, hub, self.connections, self.loop_lag, self.reporter, metrics)
        self._greenlets: list[gevent.Greenlet] = []

    def _open_ports(self, config: Config) -> None:
        """Open the sockets, then the store: a port in use must not leave a new data file behind."""
        self._listening = listen_or_fail("", config.host, config.port)
        self._metrics_listening: list[socket.socket] = []
        try:
            if config.metrics_port:
                self._metrics_listening = listen_or_fail("metrics-", config.metrics_host, config.metrics_port)
            self.store = open_engine(config, self.clock.time)
        except BaseException:
            for sock in (*self._listening, *self._metrics_listening):
                sock.close()
            raise

    def _build_core(
        self,
        config: Config,
        fan_out: FanOut,
        commit_wakeup: CommitWakeup,
        backfill_wakeup: BackfillWakeup,
    ) -> Core:
        core_log = CoreLog(self.log, self.clock)
        try:
            return Core(
                server=ServerIdentity("greenroom", __version__, config.node),
                address=self.address,
                log=self.store,
                registry=self.store,
                clock=self.clock,
                fan_out=fan_out,
                commit_wakeup=commit_wakeup,
                backfill_wakeup=backfill_wakeup,
                observers=Observers(core_log, *([MessageLog(self.log)] if config.log_messages else [])),
                limits=limits_of(config),
                ingest_bytes=config.ingest_bytes,
                store_patience=config.store_patience,
                ping_interval=config.ping_interval,
                stalled_timeout=config.stalled_timeout,
                resume_hold=config.resume_hold,
            )
        except StoreUnavailable as error:
            raise CannotStart(f"cannot read the data in {self.store.location}: {error}") from error

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._listening[0].getsockname()[1])

    @property
    def hosts(self) -> list[str]:
        """The IP addresses it listens on."""
        return [str(sock.getsockname()[0]) for sock in self._listening]

    @property
    def address(self) -> str:
        """HOST:PORT, as a client would write it."""
        host = self.config.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def start(self) -> None:
        """Start all greenlets and threads, then accept connections."""
        self.sink.start()
        self.loop_lag.start()
        if self.metrics_server is not None:
            self.metrics_server.start()
        self.watchdog.start()
        self._greenlets = [
            gevent.spawn(self.commit_loop.run),
            gevent.spawn(self.maintenance.run),
            gevent.spawn(self.backfill_loop.run),
            gevent.spawn(repeat_every, TICK_INTERVAL_S, self.ticker.tick, self.log),
            gevent.spawn(repeat_every, self.config.log_interval, self.report.write, self.log),
        ]
        for listener in self.listeners:
            listener.start()
        self.health.phase = Phase.SERVING
        self.log.info(
            LogEvent.SERVER_STARTED,
            version=__version__,
            pid=os.getpid(),
            host=self.config.host,
            port=self.port,
            store=self.store.location,
            sync=self.store.sync,
            epoch=self.store.epoch,
        )
        notify_service_manager(os.environ, "READY=1")
        if self.store.epoch_changed:
            self.log.warning(LogEvent.EPOCH_CHANGED, epoch=self.store.epoch, reason="the log's end was lost")

    def stop(self, reason: str) -> None:
        """Stop gracefully: store and deliver accepted messages, send `bye`, write the last log lines.

        What fails is logged, and holds up nothing of the rest: the process must end.
        """
        if self._stopping:
            return
        self._stopping = True
        self.health.phase = Phase.STOPPING
        notify_service_manager(os.environ, "STOPPING=1")
        self.log.info(LogEvent.SERVER_STOPPING, reason=reason, sessions=len(self.core.hub.sessions))
        for step in (
            *(listener.stop for listener in self.listeners),
            self._drain,
            lambda: gevent.killall(self._greenlets),
            self.watchdog.stop,
            self.report.write,
            self.loop_lag.stop,
            self._close_store,
            *(() if self.metrics_server is None else (self.metrics_server.stop,)),
        ):
            try:
                step()
            except Exception as error:
                self.log.error(LogEvent.INTERNAL_ERROR, exc_info=error)
        uptime = round(self.clock.monotonic() - self._started_at, 3)
        self.log.info(LogEvent.SERVER_STOPPED, uptime_s=uptime, reason=reason)
        self.sink.close()
        self.stopped.set()

    def _drain(self) -> None:
        drain(
            self.connections,
            self.core.committer,
            self.clock,
            timeout_s=self.config.drain_timeout,
            store_patience_s=self.config.store_patience,
            reconnect_spread_s=self.config.reconnect_spread,
            on_unfinished=self.reporter.session_closed,
        )

    def _close_store(self) -> None:
        """Close the store in a native thread: its last checkpoint may take long, and signals still count."""
        error = gevent.get_hub().threadpool.apply(_error_of, (self.store.close,))
        if error is not None:
            self.log.error(LogEvent.STORE_FAILED, store=self.store.location, error=str(error))

    def apply(self, config: Config) -> None:
        """Apply the reloadable settings of `config`."""
        self.config = config
        self.core.hub.limits = limits_of(config)
        self.connections.context.address_limits.limits = address_limits_of(config)

    def _max_connections(self) -> int:
        room = self._descriptors - SPARE_DESCRIPTORS
        return min(self.config.max_connections, room) if self.config.max_connections else room

    def _constant_metrics(self) -> dict[str, Value]:
        """Return the metrics that do not change while the server runs."""
        config, store = self.config, self.store
        labels = (__version__, config.node, store.kind, store.sync or "")
        return {
            "greenroom_build_info": {labels: 1},
            "greenroom_epoch_changed": store.epoch_changed,
            "greenroom_queue_limit_bytes": config.ingest_bytes,
            "greenroom_disk_warning_bytes": config.disk_warning_bytes,
        }


def _error_of(function: Callable[[], None]) -> Exception | None:
    """Call a function; return what it raises: gevent would print what leaves a thread of its pool."""
    try:
        function()
    except Exception as error:  # noqa: BLE001  handed on
        return error
    return None
