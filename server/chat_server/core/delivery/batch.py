"""Items of the ingest queue (messages, openings, barriers), and the batch that one commit writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from chat_server.core.ports.records import RegistryChanges

if TYPE_CHECKING:
    from chat_server.core.delivery.room import Room
    from chat_server.core.ports.link import Signal
    from chat_server.core.sessions.session import Session


class QueuedMessage(Struct, eq=False):
    """An accepted message on its way to the log. The store sets `seq` (in the room) and `id` (in the log).

    `accepted_at` is in monotonic seconds.
    """

    room: Room
    author: Session
    username: str
    text: str
    ref: str | None
    accepted_at: float
    repeats: int = 0
    seq: int = 0
    id: int = 0


class QueuedOpening(Struct, eq=False):
    """A conversation to be opened once it is stored: its opener, the other side, and the command's ref."""

    room: Room
    opener: Session
    peer: Session
    ref: str | None
    failed: bool = False


class Barrier(Struct, eq=False):
    """Reached when everything queued before it is committed and delivered, or rejected (`failed`)."""

    signal: Signal
    failed: bool = False


class Batch:
    """What one commit writes. `interleaved`: (index of the message that follows, item), ordered.

    `timestamp`: of all its messages, in seconds since the epoch.
    """

    __slots__ = ("interleaved", "messages", "registry_changes", "size_bytes", "timestamp")

    def __init__(self) -> None:
        self.messages: list[QueuedMessage] = []
        self.registry_changes: RegistryChanges | None = None  # most batches have none
        self.interleaved: list[tuple[int, QueuedOpening | Barrier]] | None = None
        self.size_bytes = 0
        self.timestamp = 0.0
