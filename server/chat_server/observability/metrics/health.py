"""Whether the server is of use right now, and if not, why.

Knows the ingest and the loop's beat. Must not know HTTP. The phase belongs to the loop; all else may be
called from any thread, also while the loop is blocked: it reads, and waits for nothing.
"""

from enum import StrEnum
from typing import Final

from chat_server.core.delivery.ingest import Ingest
from chat_server.core.ports.clock import Clock
from chat_server.observability.loop_watchdog import LoopLagMeter

LOOP_BLOCKED_AFTER_S: Final = 5.0
"""Seconds without a beat after which the loop counts as blocked: people have noticed by then."""


class Phase(StrEnum):
    """What the server is at."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Health:
    """What the server is at, and what is wrong."""

    def __init__(self, ingest: Ingest, lag: LoopLagMeter, clock: Clock) -> None:
        self.phase = Phase.STARTING
        self._ingest = ingest
        self._loop_lag = lag
        self._clock = clock

    @property
    def store_failing(self) -> bool:
        """Whether the store refused the last batch; the writer tries one that fails until it does not."""
        return self._ingest.last_error is not None

    def not_ready_reason(self) -> str:
        """Return why clients had better go elsewhere, nothing if they need not."""
        if self.phase is not Phase.SERVING:
            return f"the server is {self.phase}"
        silent = self._clock.monotonic() - self._loop_lag.last_ran_at
        if silent > LOOP_BLOCKED_AFTER_S:
            return f"the loop has not run for {silent:.0f} s"
        return "the store takes no batches" if self.store_failing else ""
