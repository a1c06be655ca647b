"""The port to the message log and to the registry of rooms, identities and sessions.

A method that *may wait* switches greenlets: after it, the caller checks again that its session is still open.
All other methods MUST NOT switch: the ordering of messages depends on it.
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
    """The store cannot be written or read now. After `append`: nothing of the batch is stored."""


class Store(Protocol):
    """The message log. It issues seqs; a message exists if and only if it is committed."""

    epoch: str

    def public_rooms(self) -> Iterable[RoomRecord]:
        """Return all stored public rooms with their last seqs. Called once, at start."""

    def new_identity(self) -> int:
        """Return the number of a new identity, which has never been used."""

    def append(self, batch: Batch) -> None:
        """Commit all of `batch` or nothing; set the `id`, `name` and `seq` that are not set yet. May wait.

        Raises `StoreUnavailable` if nothing of it is stored.
        """

    def resumable_sessions(self) -> list[SessionRecord]:
        """Return the resumable sessions. Called once, at start. Raises `StoreUnavailable`."""

    def conversations_of(self, identities: Collection[int]) -> list[StoredConversation]:
        """Return all conversations, open or closed, of these identities. Called once, at start.

        Other open conversations are stored as closed, since neither of their sides can be resumed. Raises
        `StoreUnavailable`.
        """

    def refs(self, session: str, limit: int) -> dict[str, int]:
        """Return the last `limit` refs of a resumable session, oldest first, each with its log row.

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

        With `newest` they are the last ones of that range, else the first. Reading stops once their texts
        exceed `size` bytes of UTF-8 in total, so at least one is returned if there is any. Raises
        `StoreUnavailable`.
        """

    def find_message(self, message_id: int) -> tuple[int, MessageEvent] | None:
        """Return the room id and the message of a log row. May wait. Raises `StoreUnavailable`."""

    def trim(self, *, keep: int, before: float) -> dict[int, int]:
        """Delete some messages that exceed the retention limits: one short step. May wait.

        These are messages with `keep` newer ones in their room (0: no limit), and those in the log before the
        first one that is not older than `before` (seconds since the epoch; 0.0: no limit). Returns the last
        deleted seq by room id; empty if nothing is left to delete. Seqs are never reused. Raises
        `StoreUnavailable`.
        """
