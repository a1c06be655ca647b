"""Writes the lines about failures that the process survives: bugs of ours, and a blocked event loop."""

from structlog.typing import FilteringBoundLogger

from chat_server.observability.log_sink import LogSink
from chat_server.vocabulary import LogEvent


class FailureLog:
    """Its methods are the callbacks of what may fail."""

    def __init__(self, log: FilteringBoundLogger, sink: LogSink) -> None:
        self._log = log
        self._sink = sink

    def internal_error(self, error: Exception) -> None:
        """Log an unexpected exception."""
        self._log.error(LogEvent.INTERNAL_ERROR, exc_info=error)

    def loop_blocked(self, stack: str, seconds: float) -> None:
        """Log that the event loop has been blocked for so long, at once and from any thread."""
        self._log.error(LogEvent.HUB_BLOCKED, stack=stack, duration_s=round(seconds, 3))
        self._sink.flush()  # the greenlet that writes the log is blocked, too

    def loop_unblocked(self, seconds: float) -> None:
        """Log that the event loop runs again, and how long it was blocked."""
        self._log.warning(LogEvent.HUB_BLOCKED, duration_s=round(seconds, 3))
