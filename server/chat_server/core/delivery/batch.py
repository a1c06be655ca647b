"""Items of the ingest queue (messages, openings, barriers, changes), and the batch that one commit writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from chat_server.core.ports.log import StoredAt
from chat_server.core.ports.registry import RegistryChanges
from chat_server.core.sessions.session import PendingMessage

if TYPE_CHECKING:
    from chat_server.core.delivery.room import Room, Session, User
    from chat_server.core.ports.link import Signal


NOT_STORED: Final = StoredAt(None)


class QueuedMessage(Struct, PendingMessage, eq=False):
    """An accepted message on its way to the log. The committer sets `seq` (in the room) and `stored_at`.

    `accepted_at` is in monotonic seconds. `ref_key`: of `ref`, if it has one (ports/log.py).
    """

    room: Room
    author: Session
    username: str
    text: str
    ref: str | None
    accepted_at: float
    ref_key: int = 0
    repeats: int = 0
    seq: int = 0
    stored_at: StoredAt = NOT_STORED

    def note_repeat(self) -> None:
        """Note that it was sent again before it was stored: its event is the answer to each."""
        self.repeats += 1


class QueuedOpening(Struct, eq=False):
    """A conversation to be opened once it is stored: the session that opens it, the other side, a ref."""

    room: Room
    opener: Session
    peer: User
    ref: str | None
    failed: bool = False


class Barrier(Struct, eq=False):
    """Reached when everything queued before it is committed and delivered, or rejected (`failed`)."""

    signal: Signal
    failed: bool = False


class QueuedState(Struct, eq=False):
    """The state of a conversation to be stored: a `ConversationRow` of a room that may have no id yet."""

    room: Room
    since: int | None
    closed_by: int | None = None


class QueuedChanges(Struct, eq=False):
    """What a batch stores besides its messages; most batches have none.

    `registry` is written first, once (`is_registered`); `rooms` are those whose rows are `registry.rooms`.
    `states` are stored together with the messages. To `released_rooms` nothing is appended after this batch.
    """

    registry: RegistryChanges | None = None
    is_registered: bool = False
    rooms: list[Room] = field(default_factory=list)
    states: list[QueuedState] = field(default_factory=list)
    released_rooms: list[Room] = field(default_factory=list)


class Batch(Struct, eq=False):
    """What one commit stores. `interleaved`: (index of the message that follows, item), ordered.

    Made for each commit: a `Struct`, whose constructor is no Python function.
    """

    messages: list[QueuedMessage] = field(default_factory=list)
    changes: QueuedChanges | None = None
    interleaved: list[tuple[int, QueuedOpening | Barrier]] | None = None
