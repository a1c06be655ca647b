"""The faults that one process has found: how many, and the first of them in words.

Knows kinds of faults (metrics.FAULTS) and bounds. Must not know how a fault is found.
"""

from collections import Counter
from typing import Final

from chat_swarm.audit.findings import RoomFault
from chat_swarm.audit.interval_set import Ranges
from chat_swarm.model.schema import Fault

KEPT: Final = 100
"""Faults of receivers that are kept in words: a report shows no more."""
KEPT_ROOM: Final = 1_000
"""Faults of rooms that are kept: the master counts those once that several processes have found."""
KEPT_COUNTERS: Final = 100_000
"""Ranges of skipped counters, and of refused ones, that are kept: about 15 MB each."""


class Ledger:
    """Counts go up as faults are found, and `lost` down again where it turns out to be `reordered`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Faults of single receivers and senders."""
        self.faults: list[Fault] = []
        self.room_faults: dict[tuple[str, str, int], RoomFault] = {}
        self.spilled: Counter[str] = Counter()
        self.refused: dict[tuple[str, str], Ranges] = {}
        """By room and sender: the counters that may be missing, or come late."""
        self.notes: dict[str, None] = {}
        self._in_rooms: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._counters: Counter[str] = Counter()

    def find(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Count a fault for each seq from `first` to `last` that one receiver was shown."""
        self.counts[kind] += last - first + 1
        self.tell(kind, room, bot, first, last, detail)

    def tell(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Keep in words what has been counted."""
        if len(self.faults) < KEPT:
            self.faults.append(Fault(kind=kind, room=room, bot=bot, first=first, last=last, detail=detail))

    def find_in_room(self, fault: RoomFault) -> None:
        """Count a fault in what a room holds, once however many receivers are shown it."""
        key = (fault.kind, fault.room, fault.seq)
        if key in self.room_faults:
            return
        self._in_rooms[fault.kind] += 1
        if len(self.room_faults) < KEPT_ROOM:
            self.room_faults[key] = fault
        else:
            self.spilled[fault.kind] += 1

    def refuse(self, room: str, sender: str, counter: int) -> None:
        """Excuse a counter."""
        ranges = self.refused.get((room, sender))
        if ranges is None:
            ranges = self.refused[room, sender] = Ranges()
        if self._keeps("refused"):
            before = len(ranges)
            ranges.add(counter, counter)
            self._counters["refused"] += len(ranges) - before

    def may_skip(self) -> bool:
        """Take a place among the ranges of counters that senders left out; there is an end to them."""
        self._counters["skipped"] += 1
        return self._keeps("skipped")

    def _keeps(self, what: str) -> bool:
        if self._counters[what] <= KEPT_COUNTERS:
            return True
        note = f"more than {KEPT_COUNTERS} ranges of {what} counters: what senders left out is not checked"
        self.notes[note] = None
        return False

    def take(self) -> dict[str, int]:
        """Return what was found since the last time.

        A loss that has been taken stays taken if the message comes after all; so does what is lost
        later in its stead. Never negative, therefore: the counts of the end are the exact ones.
        """
        fresh = {
            kind: number
            for kind, count in (self.counts + self._in_rooms).items()
            if (number := count - self._taken[kind]) > 0
        }
        self._taken.update(fresh)
        return fresh
