"""Schema of the audit report that each process sends to the master at the end of a run (audit/merge.py).

Field order and names are the wire format between processes: they MUST NOT change.
"""

from msgspec import Struct

from chat_swarm.model.schema import AuditFault


class FinalPosition(Struct, array_like=True):
    """The position of a receiver that was followed to the end of the run."""

    bot: str
    position: int
    slow: bool
    joined_at: int = 0
    """The position at which it joined."""

    unread: bool = False
    """Its connection had bytes that the bot had not read yet."""

    def has_received(self, seq: int) -> bool:
        """Return whether it is past this seq, and joined before it."""
        return self.joined_at < seq <= self.position


class SkippedCounters(Struct, array_like=True):
    """Counters from `first` to `last` of a sender that are missing before the message `seq`."""

    sender: str
    first: int
    last: int
    seq: int


class ExcusedCounters(Struct, array_like=True):
    """Counters of a sender that may be missing, as ranges: refused, or in doubt after a lost session."""

    room: str
    sender: str
    ranges: list[tuple[int, int]]


class RoomFault(Struct, array_like=True, frozen=True):
    """A fault of a room's contents, at the message `counter` of `sender`."""

    kind: str
    room: str
    seq: int
    sender: str
    counter: int
    detail: str


class ShownVariant(Struct, array_like=True):
    """One of several contents that receivers were shown under one seq."""

    digest: int
    """See audit/digest.py."""
    bots: list[str]
    """Receivers that were shown it, as far as recorded."""
    unnamed: int
    """Number of further receivers."""
    line: bytes
    """The frame; empty if it was not at hand."""


class Conflict(Struct, array_like=True):
    """A seq under which the receivers of one process were shown different contents.

    The first variant is the one decoded first: it also has every receiver of the process that is not named
    by another variant.
    """

    room: str
    seq: int
    sender: str
    """The sender by the first variant; "" if no bot of the run."""
    variants: list[ShownVariant]


class RoomLogExport(Struct, array_like=True):
    """The messages of a room that one process observed: see audit/room_log.py."""

    base: int
    """The seq of the first entry."""
    senders: list[str]
    entries: bytes
    """Eight bytes a seq, little endian: sender number (from 1) and counter; 0: not observed."""
    blocks: dict[int, int]
    """Block number → digest of seqs too old to have entries."""
    digests: bytes
    """Eight bytes a seq, little endian: the digest of the message (audit/digest.py); 0: not observed."""


class ProcessFindings(Struct, kw_only=True):
    """The audit of one process."""

    receivers: int
    checked: int
    explained_gaps: int
    counts: dict[str, int]
    """Faults of single receivers and senders; no other process found the same ones."""
    faults: list[AuditFault]
    """The first of them, with texts."""
    room_faults: list[RoomFault]
    """Faults of rooms' contents; other processes may have found the same ones."""
    conflicts: list[Conflict]
    uncompared: int
    """Messages received so late that what others were shown was no longer recorded."""
    spilled: dict[str, int]
    """Kind → number of further room faults, which are not in `room_faults`."""
    heads: dict[str, int]
    tails: dict[str, list[FinalPosition]]
    skips: dict[str, list[SkippedCounters]]
    refused: list[ExcusedCounters]
    records: dict[str, RoomLogExport]
    notes: list[str]
    """Why the check was incomplete."""
