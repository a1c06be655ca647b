"""What can be wrong with what a client was shown: a closed list, and one finding of it.

Knows how a finding is told to a person. Must not know how it was found (auditor.py does).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Every fault that the auditor can find."""

    LOST = "lost"
    """A member never got a message that is in the log."""
    REPEATED = "repeated"
    """A receiver got a seq that it had already."""
    OUT_OF_ORDER = "out_of_order"
    """A seq that was skipped came after all."""
    HOLE = "hole"
    """A receiver got seq n + k after seq n, and was told of no gap."""
    GAP = "gap"
    """A receiver was told of a gap that nothing explains."""
    WRONG_TEXT = "wrong_text"
    WRONG_AUTHOR = "wrong_author"
    WRONG_ROOM = "wrong_room"
    DIFFERENT = "different"
    """Two receivers got different bytes under one seq."""
    FORGED = "forged"
    """Shown, or in the log, but nobody sent it."""
    NOT_IN_LOG = "not_in_log"
    """Shown to a receiver, but not in the log."""
    LOG_BROKEN = "log_broken"
    """The log itself has a hole, a repeat or another order."""
    STORED_TWICE = "stored_twice"
    """One send (author and ref) has two seqs."""
    ACKED_TWICE = "acked_twice"
    """More acknowledgements than there were sends."""
    ACKED_LOST = "acked_lost"
    """Acknowledged, but not in the log."""
    UNANSWERED = "unanswered"
    """Neither acknowledged nor refused when all was quiet."""
    REFUSED = "refused"
    """An error that nothing explains."""
    NOT_RESUMED = "not_resumed"
    """A session that should have been resumed was not, or another one was."""
    WRONG_PLACE = "wrong_place"
    """`welcome` says another standing than the one that was asked for."""
    EPOCH = "epoch"
    """`epoch` changed though nothing was lost, or stayed though something was."""
    NOT_A_MEMBER = "not_a_member"
    """A message of a room that the receiver is not in."""
    BAD_FRAME = "bad_frame"
    """A frame that cannot be read, or a command of ours that could not."""
    NOT_QUIET = "not_quiet"
    """It did not come to rest in the time given."""


@dataclass(frozen=True, slots=True)
class AuditFault:
    """One finding, with what happened last to its receiver and to everybody."""

    kind: FaultKind
    receiver: str
    room: str
    seq: int
    detail: str
    seed: str
    recent: Sequence[str] = ()

    def __str__(self) -> str:
        where = f"{self.kind} at {self.receiver or '-'}, room {self.room or '-'}, seq {self.seq}"
        return "\n".join(
            [f"seed {self.seed}: {where}: {self.detail}", *(f"    {line}" for line in self.recent)]
        )


class FaultsFound(AssertionError):  # noqa: N818  it says what was found
    """The audit found faults."""
