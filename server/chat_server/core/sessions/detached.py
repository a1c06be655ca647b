"""The outbox and the link of a session that is away: everything is dropped, since its client is not there.

What matters comes to it from the log, once it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chat_protocol.errors import ByeReason
    from chat_server.core.ports.link import Signal
    from chat_server.core.sessions.session import Session


class DetachedOutbox:
    """Takes everything and keeps nothing."""

    queued_bytes: Final = 0
    progress_at: Final = 0.0
    full: Final = True
    closed: Final = True

    def put(self, data: bytes) -> None:
        """Drop `data`."""

    def offer(self, data: bytes) -> bool:
        """Drop `data`."""
        del data
        return True


class DetachedLink:
    """A link that goes nowhere."""

    address = "away"
    address_key = ""

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Do nothing: there is no connection."""

    def adopt(self, session: Session) -> None:
        """Fail: nobody says hello here."""
        raise NotImplementedError

    def bytes_written(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def bytes_acked(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def made_progress(self) -> bool:
        """Return False."""
        return False

    def hello_delay(self) -> float:
        """Fail: nobody says hello here."""
        raise NotImplementedError

    def record_failed_hello(self) -> None:
        """Fail: nobody says hello here."""
        raise NotImplementedError

    def tcp_rtt_ms(self) -> float | None:
        """Return None."""
        return None

    def wait(self, signal: Signal) -> None:
        """Fail: no greenlet serves this session."""
        raise NotImplementedError

    def new_signal(self) -> Signal:
        """Fail: no greenlet serves this session."""
        raise NotImplementedError


OUTBOX: Final = DetachedOutbox()
LINK: Final = DetachedLink()
