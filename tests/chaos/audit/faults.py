"""Kinds of faults that the audit can find, and their reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """The closed list of faults."""

    LOST = "lost"
    """A member never got a message that is in the log."""
    REPEATED = "repeated"
    """A receiver got a seq twice."""
    OUT_OF_ORDER = "out_of_order"
    """A skipped seq came later."""
    HOLE = "hole"
    """A receiver got seq n + k after seq n, without a `gap` frame."""
    GAP = "gap"
    """A `gap` frame without a reason."""
    WRONG_TEXT = "wrong_text"
    WRONG_AUTHOR = "wrong_author"
    WRONG_ROOM = "wrong_room"
    DIFFERENT = "different"
    """Two receivers got different bytes under one seq, or the log or an `again` frame has other fields."""
    FORGED = "forged"
    """Shown, or in the log, but never sent."""
    NOT_IN_LOG = "not_in_log"
    """Shown to a receiver, but not in the log."""
    LOG_BROKEN = "log_broken"
    """The log itself has a hole, a repeat or another order."""
    STORED_TWICE = "stored_twice"
    """One send (author and ref) has two seqs."""
    ACKED_TWICE = "acked_twice"
    """More acknowledgements than sends."""
    ACKED_LOST = "acked_lost"
    """Acknowledged, but not in the log."""
    UNANSWERED = "unanswered"
    """Neither acknowledged nor refused at the end."""
    REFUSED = "refused"
    """An unexpected error."""
    NOT_RESUMED = "not_resumed"
    """A session that should have been resumed was not, or another one was."""
    WRONG_PLACE = "wrong_place"
    """`welcome` has another position than the requested one."""
    EPOCH = "epoch"
    """`epoch` changed without a loss, or did not change after one."""
    NOT_A_MEMBER = "not_a_member"
    """A message of a room that the receiver is not in."""
    BAD_FRAME = "bad_frame"
    """A frame that cannot be decoded, or a command of ours that the server could not."""
    NOT_QUIET = "not_quiet"
    """The scenario did not settle in time."""


@dataclass(frozen=True, slots=True)
class AuditFault:
    """One fault, with the last events of its receiver and of the run."""

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


class FaultsFound(AssertionError):  # noqa: N818  an audit result
    """The audit found faults."""
