"""One bot in one room, and what it has been shown: each seq once, in order, from where it came in.

Knows seqs. Must not know messages, senders nor other receivers.
"""

from typing import Final

from chat_swarm.audit.fault_log import Ledger
from chat_swarm.audit.interval_set import Ranges, span

MISSING: Final = 1_000
"""Ranges of missing seqs that are kept for a receiver; what is beyond and comes late counts as repeated."""


class Receiver:
    """Who hands in a run that follows `position` moves it; any other run goes to Audit.odd."""

    __slots__ = ("_anchor", "_missing", "_stood", "bot", "excused", "position", "room", "slow")

    def __init__(self, bot: str, room: str, seq: int) -> None:
        self.bot = bot
        self.room = room
        self.position = seq
        """The last seq that it has been shown."""
        self.excused = False
        """It was away, or slow: a gap told to it is explained."""
        self.slow = False
        """It reads slowly on purpose: that it does not come to the end is its own doing."""
        self._anchor = seq  # what it was shown after this seq is not counted yet
        self._stood = seq  # where it came in
        self._missing: Ranges | None = None

    def uncounted(self) -> int:
        """Return how many messages it was shown since this was last asked."""
        shown = self.position - self._anchor
        self._anchor = self.position
        return shown

    def stand(self, seq: int) -> None:
        """Begin anew after this seq."""
        self.position = self._anchor = self._stood = seq

    def run(self, first: int, last: int, ledger: Ledger) -> int:
        """Take a run that does not follow; return how many messages it was shown, with those before it."""
        shown = self.uncounted() + last - first + 1
        if first <= self.position:
            self._late(first, min(last, self.position), ledger)
        elif first > self.position + 1:
            self._miss(self.position + 1, first - 1, ledger)
        self.position = self._anchor = max(self.position, last)
        return shown

    def gap(self, first: int, last: int, ledger: Ledger) -> int:
        """Take what the server says can no longer be had; return how many messages it was shown before."""
        shown = self.uncounted()
        if self._missing is not None:
            for one, other in self._missing.remove(first, last):
                ledger.counts["lost"] -= other - one + 1
        if first > self.position + 1:
            self._miss(self.position + 1, first - 1, ledger)
        if not self.excused:
            detail = f"{self.bot} was told that {span(first, last)} can no longer be had"
            ledger.find("gaps", self.room, self.bot, first, last, f"{detail}: it was neither away nor slow")
        self.position = self._anchor = max(self.position, last)
        return shown

    def settle(self, ledger: Ledger) -> None:
        """Give up what is missing: it will not come any more."""
        missing, self._missing = self._missing, None
        for first, last in missing or ():
            if first - 1 == self._stood:
                detail = f"{self.bot} came in at {first - 1} and was shown {last + 1} first"
            else:
                detail = f"{self.bot} was shown {first - 1} and then {last + 1}"
            ledger.tell("lost", self.room, self.bot, first, last, detail)

    def _miss(self, first: int, last: int, ledger: Ledger) -> None:
        ledger.counts["lost"] += last - first + 1
        if self._missing is None:
            self._missing = Ranges()
        if len(self._missing) < MISSING:
            self._missing.add(first, last)

    def _late(self, first: int, last: int, ledger: Ledger) -> None:
        late = [] if self._missing is None else self._missing.remove(first, last)
        told = f"{self.bot} was shown %s after {self.position}"
        for one, other in late:
            ledger.counts["lost"] -= other - one + 1
            ledger.find("reordered", self.room, self.bot, one, other, told % span(one, other))
        again = Ranges()
        again.add(first, last)
        for one, other in late:
            again.remove(one, other)
        for one, other in again:
            detail = f"{self.bot} was shown {span(one, other)} again, when it had got to {self.position}"
            ledger.find("repeated", self.room, self.bot, one, other, detail)
