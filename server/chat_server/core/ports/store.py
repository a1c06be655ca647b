"""The port to the message log.

A call that *may wait* switches greenlets; after it the caller checks again that its session still holds.
Everything else MUST NOT switch: the core relies on it for its ordering.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from chat_protocol.events import MessageEvent
from chat_server.core.ports.records import RoomRecord, SessionRecord, StoredConversation

if TYPE_CHECKING:
    from chat_server.core.delivery.batch import Batch

UNBOUNDED_BYTES: Final = 1 << 62


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

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return the sessions that may be resumed. Called once, at start; raises `StoreUnavailable`."""

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
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
        size: int = UNBOUNDED_BYTES,
    ) -> list[MessageEvent]:
        """Return up to `limit` messages with after < seq < before, ascending. May wait.

        `newest` says from which end they are taken. Taking stops once their texts have more than `size` bytes
        of UTF-8 together, so there is at least one where there are any. Raises `StoreUnavailable`.
        """

    def find_message(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Return the room's id and the message of a log row. May wait. Raises `StoreUnavailable`."""

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete some of what is kept too long: one short step. May wait. Raises `StoreUnavailable`.

        Too long is what has `keep` newer messages in its room (0: no limit), and whatever stands in the log
        before the first message that is not older than `before` (seconds since the epoch; 0.0: no limit).
        Returns the last seq deleted by room id; nothing when there is nothing left to delete. Seqs are never
        given out anew for it.
        """
