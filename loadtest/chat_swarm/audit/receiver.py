"""One bot in one room, and what it has been shown: each seq once, in order, from where it came in.

Knows seqs. Must not know messages, senders nor other receivers.
"""

from typing import Final

from chat_swarm.audit.fault_log import FaultLog
from chat_swarm.audit.interval_set import IntervalSet, range_text

MISSING_RANGES_KEPT: Final = 1_000
"""Ranges of missing seqs that are kept for a receiver; what is beyond and comes late counts as repeated."""


class Receiver:
    """Who hands in a run that follows `position` moves it; any other run goes to Audit.odd."""

    __slots__ = ("_counted_to", "_joined_at", "_missing", "bot", "excused", "position", "room", "slow")

    def __init__(self, bot: str, room: str, seq: int) -> None:
        self.bot = bot
        self.room = room
        self.position = seq
        """The last seq that it has been shown."""
        self.excused = False
        """It was away, or slow: a gap told to it is explained."""
        self.slow = False
        """It reads slowly on purpose: that it does not come to the end is its own doing."""
        self._counted_to = seq  # what it was shown after this seq is not counted yet
        self._joined_at = seq  # where it came in
        self._missing: IntervalSet | None = None

    def take_uncounted(self) -> int:
        """Return how many messages it was shown since this was last asked."""
        shown = self.position - self._counted_to
        self._counted_to = self.position
        return shown

    def observe_run(self, first: int, last: int, fault_log: FaultLog) -> int:
        """Take a run that does not follow; return how many messages it was shown, with those before it."""
        shown = self.take_uncounted() + last - first + 1
        if first <= self.position:
            self._observe_late(first, min(last, self.position), fault_log)
        elif first > self.position + 1:
            self._add_missing(self.position + 1, first - 1, fault_log)
        self.position = self._counted_to = max(self.position, last)
        return shown

    def observe_gap(self, first: int, last: int, fault_log: FaultLog) -> int:
        """Take what the server says can no longer be had; return how many messages it was shown before."""
        shown = self.take_uncounted()
        if self._missing is not None:
            for one, other in self._missing.remove(first, last):
                fault_log.counts["lost"] -= other - one + 1
        if first > self.position + 1:
            self._add_missing(self.position + 1, first - 1, fault_log)
        if not self.excused:
            detail = f"{self.bot} was told that {range_text(first, last)} can no longer be had"
            fault_log.count_fault(
                "gaps", self.room, self.bot, first, last, f"{detail}: it was neither away nor slow"
            )
        self.position = self._counted_to = max(self.position, last)
        return shown

    def report_missing(self, fault_log: FaultLog) -> None:
        """Give up what is missing: it will not come any more."""
        missing, self._missing = self._missing, None
        for first, last in missing or ():
            if first - 1 == self._joined_at:
                detail = f"{self.bot} came in at {first - 1} and was shown {last + 1} first"
            else:
                detail = f"{self.bot} was shown {first - 1} and then {last + 1}"
            fault_log.record_text("lost", self.room, self.bot, first, last, detail)

    def _add_missing(self, first: int, last: int, fault_log: FaultLog) -> None:
        fault_log.counts["lost"] += last - first + 1
        if self._missing is None:
            self._missing = IntervalSet()
        if len(self._missing) < MISSING_RANGES_KEPT:
            self._missing.add(first, last)

    def _observe_late(self, first: int, last: int, fault_log: FaultLog) -> None:
        late = [] if self._missing is None else self._missing.remove(first, last)
        detail_format = f"{self.bot} was shown %s after {self.position}"
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
            detail = (
                f"{self.bot} was shown {range_text(one, other)} again, when it had got to {self.position}"
            )
            fault_log.count_fault("repeated", self.room, self.bot, one, other, detail)
