"""One bot in one room: checks that it gets each seq once and in order, from where it joined."""

from typing import Final

from chat_swarm.audit.fault_log import FaultLog
from chat_swarm.audit.interval_set import IntervalSet, range_text

MISSING_RANGES_KEPT: Final = 1_000
"""Intervals of missing seqs kept for a receiver; later ones that arrive late count as repeated."""


class Receiver:
    """The position of a bot in a room.

    A caller with a run of messages that starts at `position` + 1 sets `position` itself, for speed; any other
    run goes to `ProcessAudit.observe_out_of_sequence`.
    """

    __slots__ = (
        "_counted_to",
        "_missing",
        "bot",
        "excused",
        "joined_at",
        "position",
        "room",
        "slow",
        "unread",
    )

    def __init__(self, bot: str, room: str, seq: int) -> None:
        self.bot = bot
        self.room = room
        self.position = seq
        """The highest seq that it got."""
        self.excused = False
        """It was disconnected, or slow: a gap reported to it is explained."""
        self.slow = False
        """It reads slowly on purpose, so it need not reach the head of the room."""
        self.unread = False
        """At the end of the drain, bytes had arrived that the bot had not read."""
        self._counted_to = seq  # messages after this seq are not counted yet
        self.joined_at: Final = seq
        """The position at which it joined."""
        self._missing: IntervalSet | None = None

    def take_uncounted(self) -> int:
        """Return the number of messages that it got since the last call."""
        shown = self.position - self._counted_to
        self._counted_to = self.position
        return shown

    def observe_message_run(self, first: int, last: int, fault_log: FaultLog) -> int:
        """Record a run of messages out of sequence; return the messages since the last count, with these."""
        shown = self.take_uncounted() + last - first + 1
        if first <= self.position:
            self._observe_late(first, min(last, self.position), fault_log)
        elif first > self.position + 1:
            self._add_missing(self.position + 1, first - 1, fault_log)
        self.position = self._counted_to = max(self.position, last)
        return shown

    def observe_gap(self, first: int, last: int, fault_log: FaultLog) -> int:
        """Record a gap reported by the server; return the messages since the last count."""
        shown = self.take_uncounted()
        if self._missing is not None:
            for one, other in self._missing.remove(first, last):
                fault_log.counts["lost"] -= other - one + 1
        if first > self.position + 1:
            self._add_missing(self.position + 1, first - 1, fault_log)
        if not self.excused:
            detail = f"the server reported the gap {range_text(first, last)} to {self.bot}"
            fault_log.count_fault(
                "gaps", self.room, self.bot, first, last, f"{detail}, which was neither disconnected nor slow"
            )
        self.position = self._counted_to = max(self.position, last)
        return shown

    def report_missing(self, fault_log: FaultLog) -> None:
        """Report the missing seqs as lost: they will not arrive any more."""
        missing, self._missing = self._missing, None
        for first, last in missing or ():
            if first - 1 == self.joined_at:
                detail = f"{self.bot} joined at {first - 1} and got {last + 1} first"
            else:
                detail = f"{self.bot} got {first - 1} and then {last + 1}"
            fault_log.record_text("lost", self.room, self.bot, first, last, detail)

    def _add_missing(self, first: int, last: int, fault_log: FaultLog) -> None:
        fault_log.counts["lost"] += last - first + 1
        if self._missing is None:
            self._missing = IntervalSet()
        if len(self._missing) < MISSING_RANGES_KEPT:
            self._missing.add(first, last)

    def _observe_late(self, first: int, last: int, fault_log: FaultLog) -> None:
        late = [] if self._missing is None else self._missing.remove(first, last)
        detail_format = f"{self.bot} got %s after {self.position}"
        for one, other in late:
            fault_log.counts["lost"] -= other - one + 1
            fault_log.count_fault(
                "reordered", self.room, self.bot, one, other, detail_format % range_text(one, other)
            )
        again = IntervalSet()
        again.add(first, last)
        for one, other in late:
            again.remove(one, other)
        for one, other in again:
            detail = f"{self.bot} got {range_text(one, other)} again, at position {self.position}"
            fault_log.count_fault("repeated", self.room, self.bot, one, other, detail)
