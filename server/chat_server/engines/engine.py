"""What the server needs of a storage engine besides the core's ports: upkeep, sizes, damage."""

from typing import Protocol

from msgspec import Struct

from chat_server.core.ports.log import Log
from chat_server.core.ports.registry import Registry


class Unreadable(Struct, frozen=True):
    """Messages that were stored and cannot be read any more; `room` is empty if it is not known."""

    room: str
    first: int
    last: int
    error: str


class IndexRebuilt(Struct, frozen=True):
    """The index was built again from the log.

    `reason`: `missing`, `outdated` (another version of the program wrote it), `foreign` (of another epoch),
    `unfinished` (the last build was interrupted), `repaired` (some entries were wrong), or `damaged`.
    """

    reason: str
    rows: int
    duration_s: float


class Engine(Log, Registry, Protocol):
    """A storage engine. Only the factory knows which one it is."""

    kind: str
    """Its name in metrics: `sqlite` or `memory`."""
    location: str
    """Where the data is, for logs and the user."""
    folder: str
    """The folder of the data; empty if it is not on a disk of this machine."""
    sync: str | None
    """What a commit waits for (`--sync`); None if nothing survives the process."""
    epoch_changed: bool
    """Whether this start found that the end of the log was lost, and began a new epoch."""
    pause_above_bytes: int
    """Size of the write-ahead log above which commits pause until `maintain` has emptied it."""

    @property
    def unreadable_messages(self) -> int:
        """Return how many messages this run has found to be unreadable."""

    def take_notices(self) -> list[Unreadable | IndexRebuilt]:
        """Return what was found out since the last call."""

    def maintain(self, *, truncate: bool = False) -> int:
        """Do what is due about once a second; return the bytes of the write-ahead log.

        `truncate` empties it; appends MUST pause meanwhile. May wait. Raises `StoreUnavailable`.
        """

    def disk_sizes(self) -> dict[str, int]:
        """Return sizes in bytes by their names in the event log; empty if it uses no disk of this machine.

        Reads file attributes; safe in any thread.
        """

    def close(self) -> None:
        """Write what is due and release the data."""
