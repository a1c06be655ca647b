"""The faults that one process has found: how many, and the first of them in words.

Knows kinds of faults (metrics.FAULTS) and bounds. Must not know how a fault is found.
"""

from collections import Counter
from typing import Final

from chat_swarm.audit.findings import RoomFault
from chat_swarm.audit.interval_set import IntervalSet
from chat_swarm.model.schema import AuditFault

FAULTS_KEPT: Final = 100
"""Faults of receivers that are kept in words: a report shows no more."""
ROOM_FAULTS_KEPT: Final = 1_000
"""Faults of rooms that are kept: the master counts those once that several processes have found."""
COUNTER_RANGES_KEPT: Final = 100_000
"""Ranges of skipped counters, and of refused ones, that are kept: about 15 MB each."""


class FaultLog:
    """Counts go up as faults are found, and `lost` down again where it turns out to be `reordered`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Faults of single receivers and senders."""
        self.faults: list[AuditFault] = []
        self.room_faults: dict[tuple[str, str, int], RoomFault] = {}
        self.spilled: Counter[str] = Counter()
        self.excused: dict[tuple[str, str], IntervalSet] = {}
        """By room and sender: the counters that may be missing, or come late."""
        self.notes: dict[str, None] = {}
        self._room_counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._ranges_used: Counter[str] = Counter()

    def count_fault(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Count a fault for each seq from `first` to `last` that one receiver was shown."""
        self.counts[kind] += last - first + 1
        self.record_text(kind, room, bot, first, last, detail)

    def record_text(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Keep in words what has been counted."""
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(
                AuditFault(kind=kind, room=room, bot=bot, first=first, last=last, detail=detail)
            )

    def count_room_fault(self, fault: RoomFault) -> None:
        """Count a fault in what a room holds, once however many receivers are shown it."""
        key = (fault.kind, fault.room, fault.seq)
        if key in self.room_faults:
            return
        self._room_counts[fault.kind] += 1
        if len(self.room_faults) < ROOM_FAULTS_KEPT:
            self.room_faults[key] = fault
        else:
            self.spilled[fault.kind] += 1

    def excuse_counter(self, room: str, sender: str, counter: int) -> None:
        """Excuse a counter."""
        ranges = self.excused.get((room, sender))
        if ranges is None:
            ranges = self.excused[room, sender] = IntervalSet()
        if self._has_space_for("refused"):
            before = len(ranges)
            ranges.add(counter, counter)
            self._ranges_used["refused"] += len(ranges) - before

    def reserve_skip(self) -> bool:
        """Take a place among the ranges of counters that senders left out; there is an end to them."""
        self._ranges_used["skipped"] += 1
        return self._has_space_for("skipped")

    def _has_space_for(self, what: str) -> bool:
        if self._ranges_used[what] <= COUNTER_RANGES_KEPT:
            return True
        note = (
            f"more than {COUNTER_RANGES_KEPT} ranges of {what} counters: what senders left out is not checked"
        )
        self.notes[note] = None
        return False

    def take_new_counts(self) -> dict[str, int]:
        """Return what was found since the last time.

        A loss that has been taken stays taken if the message comes after all; so does what is lost
        later in its stead. Never negative, therefore: the counts of the end are the exact ones.
        """
        fresh = {
            kind: number
            for kind, count in (self.counts + self._room_counts).items()
            if (number := count - self._reported[kind]) > 0
        }
        self._reported.update(fresh)
        return fresh
