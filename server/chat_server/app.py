"""The composition root: builds the server from its parts, starts it, and stops it without losing messages.

Tests use it, too: `Server(config, log).start()`, then `stop()`.
"""

import os
import random
import socket
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import ServerIdentity
from chat_server import __version__
from chat_server.core.chat.hub import Hub
from chat_server.core.commands.router import Router
from chat_server.core.delivery.committer import Committer
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.observer import Observers
from chat_server.core.delivery.publisher import Publisher
from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.factory import CannotStart, open_engine
from chat_server.jobs.backfill_loop import BackfillLoop, BackfillWakeup
from chat_server.jobs.commit_loop import CommitLoop, CommitWakeup
from chat_server.jobs.maintenance import StoreMaintenance
from chat_server.net.address_limits import AddressLimits
from chat_server.net.connection import CLOSE_LINGER_S, Connection
from chat_server.net.connections import Connections
from chat_server.net.context import ConnectionContext
from chat_server.net.event_loop import GeventLoop
from chat_server.net.listener import SPARE_DESCRIPTORS, Listener
from chat_server.net.outbox import fan_out
from chat_server.observability.core_log import CoreLog, MessageLog
from chat_server.observability.event_log import EventLogger
from chat_server.observability.log_reporter import LogReporter
from chat_server.observability.loop_watchdog import LoopLagMeter, LoopWatchdog
from chat_server.observability.metrics.health import Health, Phase
from chat_server.observability.metrics.http import MetricsServer
from chat_server.observability.metrics.snapshot import MetricsCollector, Value
from chat_server.settings.load import Config
from chat_server.startup import address_limits_of, limits_of, listen_or_fail, raise_descriptor_limit
from chat_server.system_clock import SystemClock
from chat_server.vocabulary import LogEvent

TICK_INTERVAL_S = 0.1
"""Seconds between two checks of pings, presence and deadlines."""

ACKNOWLEDGEMENT_CHECK_S = 0.05
"""Seconds between two checks, during a stop, of which sessions still await an acknowledgement."""

LOOP_LAG_WARNING_MS = 250.0
"""Lag of the event loop above which the log warns: users notice about that much."""


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
        # Before the store: a port in use must not leave a new data file behind.
        self._listening = listen_or_fail("", config.host, config.port)
        self._metrics_listening: socket.socket | None = None
        try:
            if config.metrics_port:
                self._metrics_listening = listen_or_fail("metrics-", config.metrics_host, config.metrics_port)
            self.store = open_engine(config, self.clock.time)
        except BaseException:
            self._listening.close()
            if self._metrics_listening is not None:
                self._metrics_listening.close()
            raise
        commit_wakeup, backfill_wakeup = CommitWakeup(), BackfillWakeup()
        core_log = CoreLog(self.log, self.clock)
        observers = Observers(core_log, MessageLog(self.log)) if config.log_messages else Observers(core_log)
        self.ingest = Ingest(commit_wakeup, max_bytes=config.ingest_bytes)
        try:
            self.hub = Hub(
                server=ServerIdentity("greenroom", __version__, config.node),
                address=self.address,
                log=self.store,
                registry=self.store,
                ingest=self.ingest,
                backfill_wakeup=backfill_wakeup,
                observers=observers,
                clock=self.clock,
                fan_out=fan_out,
                limits=limits_of(config),
                ping_interval=config.ping_interval,
                stalled_timeout=config.stalled_timeout,
                resume_hold=config.resume_hold,
            )
        except StoreUnavailable as error:
            raise CannotStart(f"cannot read the data in {self.store.location}: {error}") from error
        self.publisher = Publisher(
            self.clock,
            lambda: self.hub.stats,
            observers=observers,
            on_opening_done=self.hub.openings.finish_opening,
            reopen=self.hub.openings.reopen,
        )
        self.committer = Committer(
            self.store,
            self.store,
            self.ingest,
            self.publisher,
            self.clock,
            lambda: self.hub.stats,
            patience_s=config.store_patience,
        )
        self.commit_loop = CommitLoop(
            self.log, self.store.location, self.ingest, self.committer, commit_wakeup
        )
        self.reporter = LogReporter(self.log, self.hub, self.store.disk_sizes)
        self.maintenance = StoreMaintenance(
            self.log,
            self.store,
            self.commit_loop,
            disk_warning_bytes=config.disk_warning_bytes,
            retention_messages=config.retention_messages,
            retention_seconds=config.retention_seconds,
            clock=self.clock.time,
            on_trimmed=self.hub.trim_tails,
        )
        self.router = Router(self.hub)
        self.connections = Connections(
            ConnectionContext(
                router=self.router,
                hub=self.hub,
                ingest=self.ingest,
                clock=self.clock,
                loop=GeventLoop(),
                address_limits=AddressLimits(address_limits_of(config), self.clock),
                outbox_bytes=config.outbox_bytes,
            ),
            hello_timeout=config.hello_timeout,
            on_closed=self.reporter.session_closed,
            on_failed=self._on_connection_failed,
        )
        self.backfill_loop = BackfillLoop(self.log, self.hub.backfill, backfill_wakeup)
        self.listener = Listener(
            self._listening,
            self.connections,
            max_connections=self._max_connections,
            on_rejected=self.reporter.connection_rejected,
        )
        self.loop_lag = LoopLagMeter()
        self.watchdog = LoopWatchdog(self.loop_lag, self._on_loop_blocked, self._on_loop_unblocked)
        self.health = Health(self.committer, self.loop_lag, self.clock)
        self.metrics = MetricsCollector(
            self._constant_metrics(),
            self.hub,
            self.committer,
            self.connections,
            self.store.disk_sizes,
            self.sink,
            self.health,
            self._max_connections,
        )
        self.metrics_server = (
            None
            if self._metrics_listening is None
            else MetricsServer(
                self._metrics_listening,
                self.metrics.take_snapshot,
                self.health.not_ready_reason,
                self._on_metrics_failed,
            )
        )
        self._greenlets: list[gevent.Greenlet] = []

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self._listening.getsockname()[1])

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
            gevent.spawn(self._repeat_every, TICK_INTERVAL_S, self._tick),
            gevent.spawn(self._repeat_every, self.config.log_interval, self._report_interval),
        ]
        self.listener.start()
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
        if self.store.epoch_changed:
            self.log.warning(LogEvent.EPOCH_CHANGED, epoch=self.store.epoch, reason="the log's end was lost")

    def stop(self, reason: str) -> None:
        """Stop gracefully: store and deliver accepted messages, send `bye`, write the last log lines."""
        if self._stopping:
            return
        self._stopping = True
        self.health.phase = Phase.STOPPING
        self.log.info(LogEvent.SERVER_STOPPING, reason=reason, sessions=len(self.hub.sessions))
        self.listener.stop()
        deadline = self.clock.monotonic() + self.config.drain_timeout
        self.connections.context.stop_reading(self.config.drain_timeout)
        # Accepted messages are stored and acknowledged first, or refused if the store keeps failing.
        while not self.committer.idle and self.clock.monotonic() < deadline + self.config.store_patience:
            gevent.sleep(0.01)
        # Then lagging sessions get their acknowledgements, while there is still time for their bye.
        last_bye_at = deadline - min(CLOSE_LINGER_S, self.config.drain_timeout / 2)
        unanswered = self._say_bye(list(self.connections.registered))
        while (unanswered or not self.committer.idle) and self.clock.monotonic() < last_bye_at:
            gevent.sleep(ACKNOWLEDGEMENT_CHECK_S)
            unanswered = self._say_bye(unanswered)
        self._say_bye(unanswered, even_unanswered=True)
        while self.connections.registered and self.clock.monotonic() < deadline:
            gevent.sleep(0.01)
        for connection in list(self.connections.registered):
            session = connection.session
            reported = session.closed or session.held or session.link is not connection
            if not reported:  # else it has been logged, and waits for its peer to close
                self.reporter.session_closed(connection)
        gevent.sleep(0.01)  # let the last disconnects reach the store
        gevent.killall(self._greenlets)
        self._finish(reason)

    def _say_bye(
        self, connections: Sequence[Connection], *, even_unanswered: bool = False
    ) -> list[Connection]:
        """Send `bye` to the connections that await no acknowledgement, or to all; return the others."""
        unanswered = []
        for connection in connections:
            if not even_unanswered and connection.awaits_acknowledgement():
                unanswered.append(connection)
            else:
                after = round(random.uniform(0, self.config.reconnect_spread), 2)
                connection.close_with_bye(ByeReason.SHUTDOWN, after=after)
        return unanswered

    def _finish(self, reason: str) -> None:
        self.watchdog.stop()
        self._report_interval()
        self.loop_lag.stop()
        try:
            self.store.close()
        except Exception as error:  # noqa: BLE001  a failing disk must not prevent the last log lines
            self.log.error(LogEvent.STORE_FAILED, store=self.store.location, error=str(error))
        if self.metrics_server is not None:
            self.metrics_server.stop()
        uptime = round(self.clock.monotonic() - self._started_at, 3)
        self.log.info(LogEvent.SERVER_STOPPED, uptime_s=uptime, reason=reason)
        self.sink.close()
        self.stopped.set()

    def apply(self, config: Config) -> None:
        """Apply the reloadable settings of `config`."""
        self.config = config
        self.hub.limits = limits_of(config)
        self.connections.context.address_limits.limits = address_limits_of(config)

    def _max_connections(self) -> int:
        room = self._descriptors - SPARE_DESCRIPTORS
        return min(self.config.max_connections, room) if self.config.max_connections else room

    def _repeat_every(self, seconds: float, work: Callable[[], None]) -> None:
        while True:
            gevent.sleep(seconds)
            try:
                work()
            except Exception as error:
                self.log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _tick(self) -> None:
        hub = self.hub
        for task in (
            hub.presence_updates.flush,
            self._ping,
            hub.backfill.tick,
            hub.resumable.tick,
            hub.closings.tick,
            self.connections.end_hello_timeouts,
        ):
            try:
                task()
            except Exception as error:
                self.log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _ping(self) -> None:
        if not self._stopping:  # nothing is read any more, so no pong could be seen
            self.hub.heartbeat.tick()

    def _report_interval(self) -> None:
        lag = self.loop_lag.take_summary()
        if lag.max_ms > LOOP_LAG_WARNING_MS:
            self.log.warning(LogEvent.LOOP_LAG, lag_ms=round(lag.max_ms, 1), sessions=len(self.hub.sessions))
        bytes_direct = self.connections.bytes_direct()
        if self.metrics_server is not None:
            self.metrics.add_interval(lag, bytes_direct)
        self.reporter.write_interval(lag_max_ms=lag.max_ms, bytes_direct=bytes_direct)

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

    def _on_connection_failed(self, connection: Connection, error: Exception) -> None:
        self.hub.stats.errors[ErrorCode.INTERNAL] += 1
        self.reporter.internal_error(connection, error)

    def _on_metrics_failed(self, error: Exception) -> None:
        self.log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def _on_loop_blocked(self, stack: str, seconds: float) -> None:
        self.log.error(LogEvent.HUB_BLOCKED, stack=stack, duration_s=round(seconds, 3))
        self.sink.flush()  # the greenlet that writes the log is blocked, too

    def _on_loop_unblocked(self, seconds: float) -> None:
        self.log.warning(LogEvent.HUB_BLOCKED, duration_s=round(seconds, 3))
