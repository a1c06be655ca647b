"""The outbox and the link of a session that is away: everything is dropped, since its client is not there.

What matters comes to it from the log, once it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chat_protocol.errors import ByeReason
    from chat_server.core.ports.link import Signal
    from chat_server.core.sessions.session import Session


class _Outbox:
    """Takes everything and keeps nothing."""

    waiting: Final = 0
    moved_at: Final = 0.0
    full: Final = True
    shut: Final = True

    def put(self, data: bytes) -> None:
        """Drop `data`."""

    def offer(self, data: bytes) -> bool:
        """Drop `data`."""
        del data
        return True


class Nowhere:
    """A link that goes nowhere."""

    address = "away"
    site = ""

    def end(
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

    def position(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def taken(self) -> int:
        """Return 0: nothing travels."""
        return 0

    def taking(self) -> bool:
        """Return False."""
        return False

    def may_hello(self) -> float:
        """Fail: nobody says hello here."""
        raise NotImplementedError

    def failed_hello(self) -> None:
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


OUTBOX: Final = _Outbox()
LINK: Final = Nowhere()
