"""The outbox and the link of a session without a connection: a held one. They drop everything.

Nothing is lost by that: messages are backfilled from the log when the session is resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chat_protocol.errors import ByeReason
    from chat_server.core.ports.link import Signal


class DetachedOutbox:
    """Drops everything."""

    queued_bytes: Final = 0
    progress_at: Final = 0.0
    full: Final = True
    closed: Final = True

    def put(self, data: bytes) -> None:
        """Drop `data`."""

    def offer(self, data: bytes) -> bool:
        """Drop `data` and return True."""
        del data
        return True

    def send_deferred(self) -> None:
        """Do nothing: there is nothing to send."""


class DetachedLink:
    """A link without a connection."""

    address = "away"
    address_key = ""
    paused = False

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Do nothing: there is no connection."""

    def adopt(self, session: object) -> None:
        """Not supported: only the session of a new connection is replaced."""
        raise NotImplementedError

    def bytes_written(self) -> int:
        """Return 0: unknown."""
        return 0

    def bytes_acked(self) -> int:
        """Return 0: unknown."""
        return 0

    def made_progress(self) -> bool:
        """Return False."""
        return False

    def hello_delay(self) -> float:
        """Not supported: a held session receives no commands."""
        raise NotImplementedError

    def record_failed_hello(self) -> None:
        """Not supported: a held session receives no commands."""
        raise NotImplementedError

    def tcp_rtt_ms(self) -> float | None:
        """Return None: unknown."""
        return None

    def wait(self, signal: Signal) -> None:
        """Not supported: no greenlet serves this session."""
        raise NotImplementedError

    def new_signal(self) -> Signal:
        """Not supported: no greenlet serves this session."""
        raise NotImplementedError


OUTBOX: Final = DetachedOutbox()
LINK: Final = DetachedLink()
