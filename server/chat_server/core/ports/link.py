"""The port to one peer: its connection (link), its outbox, and signals to wait for.

A port that *may wait* switches greenlets; after it the caller checks again that its session still holds.
Everything else here MUST NOT switch: the core relies on it for its ordering.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from chat_protocol.errors import ByeReason

if TYPE_CHECKING:
    from chat_server.core.sessions.session import Session


class Outbox(Protocol):
    """Bytes on their way to one peer. Never blocks, never raises, never switches."""

    def put(self, data: bytes) -> None:
        """Send now what the peer takes now, keep the rest: for what must not be left out."""

    def offer(self, data: bytes) -> bool:
        """Do as `put`, or, if too much would wait then, take none of it and return False."""

    @property
    def queued_bytes(self) -> int:
        """Bytes kept because the peer has not taken them."""

    @property
    def full(self) -> bool:
        """Whether more waits already than what is offered may add to."""

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken: the peer has gone, or has been sent away."""

    @property
    def progress_at(self) -> float:
        """When the peer last took bytes that had waited (monotonic seconds)."""


FanOut = Callable[[Iterable[Outbox], bytes], Sequence[Outbox]]
"""Offer the same bytes to many outboxes, return those that did not take them. The hot loop: one call for a
batch, no call of ours per member."""


class Signal(Protocol):
    """Set once; whoever waits goes on."""

    def set(self) -> None:
        """Let the waiter go on."""


class Link(Protocol):
    """The session's connection, as far as the core may know it."""

    @property
    def address(self) -> str:
        """The peer's address, for people."""

    @property
    def address_key(self) -> str:
        """What counts as one address of the peer's, empty where no limit for addresses holds."""

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Say `bye` and close, once what is on its way has gone out. Does not switch."""

    def adopt(self, session: Session) -> None:
        """Serve `session`, which has come back, in place of the one that said hello. Does not switch."""

    def bytes_written(self) -> int:
        """Return the length of the stream to the peer so far, in bytes, with what waits; 0 if unknown."""

    def bytes_acked(self) -> int:
        """Return how many bytes of the stream have arrived at the peer's machine; 0 if unknown."""

    def made_progress(self) -> bool:
        """Tell whether the peer has taken bytes of what waits for it since this was asked last."""

    def hello_delay(self) -> float:
        """Return 0, or the seconds until a hello of this connection will be heard: its address failed often.

        Whoever says hello before that again and again is sent away. Does not switch.
        """

    def record_failed_hello(self) -> None:
        """Note for the peer's address that a hello failed in a way in which one tries things out."""

    def tcp_rtt_ms(self) -> float | None:
        """Return the kernel's smoothed round-trip time in ms (TCP_INFO), None if there is none."""

    def wait(self, signal: Signal) -> None:
        """Wait for `signal`, with the answers so far sent. May wait."""

    def new_signal(self) -> Signal:
        """Make a signal to wait for."""
