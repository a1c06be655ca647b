"""The port to one peer: its connection (link), its outbox, and signals to wait for.

A method that *may wait* switches greenlets: after it, the caller checks again that its session is still open.
All other methods MUST NOT switch: the ordering of messages depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from chat_protocol.errors import ByeReason

SessionT_contra = TypeVar("SessionT_contra", contravariant=True)


class Outbox(Protocol):
    """Bytes on their way to one peer. MUST NOT block, raise, or switch greenlets."""

    def put(self, data: bytes) -> None:
        """Send `data`; queue what the peer does not take now. For data that must not be left out."""

    def offer(self, data: bytes) -> bool:
        """Like `put`; but if the queue would be over its bound, take nothing and return False."""

    def send_deferred(self) -> None:
        """Send what the fan-out has put into the queue, and the peer was not offered yet."""

    @property
    def queued_bytes(self) -> int:
        """Bytes in the queue, which the peer has not taken yet."""

    @property
    def full(self) -> bool:
        """Whether the queue is over the bound for `offer`."""

    @property
    def closed(self) -> bool:
        """Whether data is dropped: the peer is gone, or `bye` has been queued."""

    @property
    def progress_at(self) -> float:
        """When the peer last took queued bytes (monotonic seconds)."""


class FanOut(Protocol):
    """Many outboxes. MUST NOT block, raise, or switch greenlets."""

    @property
    def deferred(self) -> int:
        """How often, since the start, some outboxes have accepted bytes that are sent in later rounds."""

    def offer(self, outboxes: Collection[Outbox], chunk: bytes, /) -> Sequence[Outbox]:
        """Offer the same bytes to many outboxes, return those that did not accept them.

        The hot loop: one call per chunk, and no Python call per member.
        """

    def when_sent(self, callback: Callable[[], None], /) -> None:
        """Call `callback` once all that is deferred now has been sent, as far as the peers read."""


class Signal(Protocol):
    """A one-time event that one greenlet waits for (`Link.wait`)."""

    def set(self) -> None:
        """Wake the waiting greenlet."""


class Link(Protocol[SessionT_contra]):
    """The connection of a session, as seen by the core."""

    @property
    def address(self) -> str:
        """The peer's address, for logs and lists."""

    @property
    def address_key(self) -> str:
        """The key by which limits per address count this peer; empty if it is exempt from them."""

    @property
    def paused(self) -> bool:
        """Whether the server does not read from the peer now: a command waits, or the outbox is full."""

    def close_with_bye(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Send `bye` and close, once the queued bytes have been sent. Does not switch.

        `after`: seconds until the client may return; None: the server does not ask it to wait.
        """

    def adopt(self, session: SessionT_contra) -> None:
        """Attach `session`, which is resumed, in place of the one that sent `hello`. Does not switch."""

    def bytes_written(self) -> int:
        """Return the bytes written to the peer since it connected, queued ones included; 0 if unknown."""

    def bytes_acked(self) -> int:
        """Return how many of the written bytes the peer's kernel has acknowledged; 0 if unknown."""

    def made_progress(self) -> bool:
        """Return whether the peer has taken queued bytes since the last call."""

    def hello_delay(self) -> float:
        """Return 0, or the seconds until this connection may send `hello`: too many from its address failed.

        A peer that repeatedly sends `hello` before that is disconnected. Does not switch.
        """

    def record_failed_hello(self) -> None:
        """Count, for the peer's address, a `hello` that may have been probing names or secrets."""

    def tcp_rtt_ms(self) -> float | None:
        """Return the kernel's smoothed round-trip time in ms (TCP_INFO), None if it is unknown."""

    def wait(self, signal: Signal) -> None:
        """Send the answers so far, then wait for `signal`. May wait."""

    def new_signal(self) -> Signal:
        """Return a new signal for `wait`."""
