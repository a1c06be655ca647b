"""What the core needs from the world, as shapes: clock, outbox, link, signal, store.

A port that *may wait* switches greenlets; after it the caller checks again that its session still holds.
Everything else here MUST NOT switch: the core relies on it for its ordering.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from chat_protocol.errors import ByeReason
from chat_protocol.events import MessageEvent
from chat_server.core.records import Batch, RoomRecord, SessionRecord, Talk

if TYPE_CHECKING:
    from chat_server.core.session import Session


class Clock(Protocol):
    """Two clocks: one to compare, one to show."""

    def monotonic(self) -> float:
        """Seconds that only grow, for durations and deadlines."""

    def time(self) -> float:
        """Seconds since the Unix epoch, UTC, for `timestamp`."""


class Outbox(Protocol):
    """Bytes on their way to one peer. Never blocks, never raises, never switches."""

    def put(self, data: bytes) -> None:
        """Send now what the peer takes now, keep the rest: for what must not be left out."""

    def offer(self, data: bytes) -> bool:
        """Do as `put`, or, if too much would wait then, take none of it and return False."""

    @property
    def waiting(self) -> int:
        """Bytes kept because the peer has not taken them."""

    @property
    def full(self) -> bool:
        """Whether more waits already than what is offered may add to."""

    @property
    def shut(self) -> bool:
        """Whether nothing more is taken: the peer has gone, or has been sent away."""

    @property
    def moved_at(self) -> float:
        """When the peer last took bytes that had waited (monotonic seconds)."""


UNBOUNDED: Final = 1 << 62

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
    def site(self) -> str:
        """What counts as one address of the peer's, empty where no limit for addresses holds."""

    def end(
        self,
        reason: ByeReason,
        message: str | None = None,
        after: float | None = None,
        ref: str | None = None,
    ) -> None:
        """Say `bye` and close, once what is on its way has gone out. Does not switch."""

    def adopt(self, session: Session) -> None:
        """Serve `session`, which has come back, in place of the one that said hello. Does not switch."""

    def position(self) -> int:
        """Return the length of the stream to the peer so far, in bytes, with what waits; 0 if unknown."""

    def taken(self) -> int:
        """Return how many bytes of the stream have arrived at the peer's machine; 0 if unknown."""

    def taking(self) -> bool:
        """Tell whether the peer has taken bytes of what waits for it since this was asked last."""

    def may_hello(self) -> float:
        """Return 0, or the seconds until a hello of this connection will be heard: its address failed often.

        Whoever says hello before that again and again is sent away. Does not switch.
        """

    def failed_hello(self) -> None:
        """Note for the peer's address that a hello failed in a way in which one tries things out."""

    def tcp_rtt_ms(self) -> float | None:
        """Return the kernel's smoothed round-trip time in ms (TCP_INFO), None if there is none."""

    def wait(self, signal: Signal) -> None:
        """Wait for `signal`, with the answers so far sent. May wait."""

    def new_signal(self) -> Signal:
        """Make a signal to wait for."""


class StoreUnavailable(Exception):  # noqa: N818  a state of the store, not a mistake
    """The store cannot write now; nothing of the batch is stored."""


class Store(Protocol):
    """The log. It gives out seqs; what it has committed exists, and nothing else does."""

    epoch: str

    def public_rooms(self) -> Iterable[RoomRecord]:
        """All public rooms that were ever written in, with their last seqs. Called once, at start."""

    def new_identity(self) -> int:
        """Return the number of a new identity, never given before."""

    def append(self, batch: Batch) -> None:
        """Commit all of `batch` or nothing; fill in `id`, `name` and `seq` where they are due. May wait.

        Raises `StoreUnavailable` when nothing of it is stored.
        """

    def sessions(self) -> list[SessionRecord]:
        """Return the sessions that may be resumed. Called once, at start; raises `StoreUnavailable`."""

    def talks(self, identities: Collection[int]) -> list[Talk]:
        """Return all conversations, open or closed, of these identities. Called once, at start.

        Conversations that are open but belong to none of them are noted as closed: their sides are gone for
        good. Raises `StoreUnavailable`.
        """

    def refs(self, session: str, limit: int) -> dict[str, int]:
        """Return the last `limit` refs of a session that may be resumed, oldest first, each with its log row.

        May wait. Raises `StoreUnavailable`.
        """

    def read(
        self,
        room: RoomRecord,
        after: int,
        before: int,
        limit: int,
        *,
        newest: bool,
        size: int = UNBOUNDED,
    ) -> list[MessageEvent]:
        """Return up to `limit` messages with after < seq < before, ascending. May wait.

        `newest` says from which end they are taken. Taking stops once their texts have more than `size` bytes
        of UTF-8 together, so there is at least one where there are any. Raises `StoreUnavailable`.
        """

    def find(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Return the room's id and the message of a log row. May wait. Raises `StoreUnavailable`."""

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete some of what is kept too long: one short step. May wait. Raises `StoreUnavailable`.

        Too long is what has `keep` newer messages in its room (0: no limit), and whatever stands in the log
        before the first message that is not older than `before` (seconds since the epoch; 0.0: no limit).
        Returns the last seq deleted by room id; nothing when there is nothing left to delete. Seqs are never
        given out anew for it.
        """
