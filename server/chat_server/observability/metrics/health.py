"""Health of the server: whether it is ready, and if not, why.

MUST NOT block: except for `phase`, which the event loop writes, everything may be called from any thread,
also while the loop is blocked.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from chat_server.core.delivery.committer import Committer
from chat_server.core.ports.clock import Clock
from chat_server.observability.loop_watchdog import LoopLagMeter

LOOP_BLOCKED_AFTER_S: Final = 5.0
"""Seconds after which a loop that has not run counts as blocked: users have noticed by then."""


class Phase(StrEnum):
    """Phase of the server process."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Health:
    """Phase of the server, and the reasons for which it is not ready."""

    def __init__(
        self,
        committer: Committer,
        lag: LoopLagMeter,
        clock: Clock,
        unreadable: Callable[[], int] = lambda: 0,
    ) -> None:
        """Judge by these; `unreadable` returns how many stored messages were found to be unreadable."""
        self.phase = Phase.STARTING
        self._committer = committer
        self._loop_lag = lag
        self._clock = clock
        self._unreadable = unreadable

    @property
    def store_failing(self) -> bool:
        """Whether the last commit failed; the commit loop retries until one succeeds."""
        return self._committer.last_error is not None

    @property
    def unreadable_messages(self) -> int:
        """How many stored messages this run has found to be unreadable."""
        return self._unreadable()

    def warning(self) -> str:
        """Return what is wrong with a server that is ready; empty if nothing is.

        Damage of old messages does not go away, and another server could not read them either: it is no
        reason to send clients elsewhere.
        """
        count = self.unreadable_messages
        return f"{count} stored messages cannot be read (row_unreadable in the log)" if count else ""

    def not_ready_reason(self) -> str:
        """Return why the server is not ready; empty if it is."""
        if self.phase is not Phase.SERVING:
            return f"the server is {self.phase}"
        silent = self._clock.monotonic() - self._loop_lag.last_ran_at
        if silent > LOOP_BLOCKED_AFTER_S:
            return f"the event loop has not run for {silent:.0f} s"
        return "the message store cannot be written" if self.store_failing else ""
