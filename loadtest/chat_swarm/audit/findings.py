"""What one process tells of its audit at the end, for the master to reckon with.

Knows shapes. Must not know how they are found nor what they amount to.
"""

from msgspec import Struct

from chat_swarm.model.schema import AuditFault


class FinalPosition(Struct, array_like=True):
    """A receiver that was followed to the end, and where it stood then."""

    bot: str
    position: int
    slow: bool


class SkippedCounters(Struct, array_like=True):
    """Counters from `first` to `last` that a sender left out, noticed at the message `seq`."""

    sender: str
    first: int
    last: int
    seq: int


class ExcusedCounters(Struct, array_like=True):
    """Counters of a sender that will rightly be missing, as ranges."""

    room: str
    sender: str
    ranges: list[tuple[int, int]]


class RoomFault(Struct, array_like=True, frozen=True):
    """A fault in what a room holds, at the message `counter` of `sender`."""

    kind: str
    room: str
    seq: int
    sender: str
    counter: int
    detail: str


class RoomLogExport(Struct, array_like=True):
    """What was shown in a room: see audit/room_log.py."""

    base: int
    """The seq of the first entry."""
    senders: list[str]
    entries: bytes
    """Eight bytes a seq, little endian: the sender's number (from 1) and its counter; 0: not shown here."""
    blocks: dict[int, int]
    """Digests of what is too old to have entries."""


class ProcessFindings(Struct, kw_only=True):
    """One process's audit."""

    receivers: int
    checked: int
    explained_gaps: int
    counts: dict[str, int]
    """Faults of single receivers and senders; no other process has found the same."""
    faults: list[AuditFault]
    """The first of those."""
    room_faults: list[RoomFault]
    """Faults in what a room holds: other processes may have found the same."""
    spilled: dict[str, int]
    """How many more of these there were, by kind."""
    heads: dict[str, int]
    tails: dict[str, list[FinalPosition]]
    skips: dict[str, list[SkippedCounters]]
    refused: list[ExcusedCounters]
    records: dict[str, RoomLogExport]
    notes: list[str]
    """Why the check was not whole."""
