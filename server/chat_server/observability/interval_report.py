"""The report of each interval: to the event log, and to the metrics if they are served."""

from typing import Final

from structlog.typing import FilteringBoundLogger

from chat_server.core.chat.hub import Hub
from chat_server.net.connections import Connections
from chat_server.observability.log_reporter import LogReporter
from chat_server.observability.loop_watchdog import LoopLagMeter
from chat_server.observability.metrics.snapshot import MetricsCollector
from chat_server.vocabulary import LogEvent

LOOP_LAG_WARNING_MS: Final = 250.0
"""Lag of the event loop above which the log warns: users notice about that much."""


class IntervalReport:
    """Reports each interval at its end. `metrics`: None if they are not served."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        hub: Hub,
        connections: Connections,
        loop_lag: LoopLagMeter,
        reporter: LogReporter,
        metrics: MetricsCollector | None,
    ) -> None:
        self._log = log
        self._hub = hub
        self._connections = connections
        self._loop_lag = loop_lag
        self._reporter = reporter
        self._metrics = metrics

    def write(self) -> None:
        """Report the interval since the last call."""
        lag = self._loop_lag.take_summary()
        if lag.max_ms > LOOP_LAG_WARNING_MS:
            sessions = len(self._hub.sessions)
            self._log.warning(LogEvent.LOOP_LAG, lag_ms=round(lag.max_ms, 1), sessions=sessions)
        bytes_direct = self._connections.bytes_direct()
        if self._metrics is not None:
            self._metrics.add_interval(lag, bytes_direct)
        self._reporter.write_interval(lag_max_ms=lag.max_ms, bytes_direct=bytes_direct)
