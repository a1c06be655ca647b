"""Faults found by one process: counts by kind, and the first of them with a text. Memory is bounded."""

from collections import Counter
from typing import Final

from chat_swarm.audit.digest import are_different
from chat_swarm.audit.findings import Conflict, RoomFault, ShownVariant
from chat_swarm.audit.interval_set import IntervalSet
from chat_swarm.model.schema import AuditFault

FAULTS_KEPT: Final = 100
"""Faults of receivers kept with a text: a report shows no more."""
ROOM_FAULTS_KEPT: Final = 1_000
"""Faults of rooms kept: the master counts a fault once that several processes found."""
CONFLICTS_KEPT: Final = 1_000
"""Seqs shown differently that are kept with their receivers; of later ones only the number is known."""
SPILLED_CONFLICTS_KEPT: Final = 100_000
"""Places of such later ones, so that each is counted once for any number of receivers: about 15 MB."""
VARIANT_BOTS_KEPT: Final = 1_000
"""Names of receivers kept for one variant."""
VARIANT_LINE_BYTES: Final = 9_216
"""Bytes of a frame kept for a variant: a whole message is not longer, unless most of it is escaped."""
COUNTER_RANGES_KEPT: Final = 100_000
"""Ranges of skipped counters, and of excused ones, kept: about 15 MB each."""


class FaultLog:
    """Counts rise as faults are found; `lost` falls again if a missing message arrives late (`reordered`)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Faults of single receivers and senders."""
        self.faults: list[AuditFault] = []
        self.room_faults: dict[tuple[str, str, int], RoomFault] = {}
        self.spilled: Counter[str] = Counter()
        self.excused: dict[tuple[str, str], IntervalSet] = {}
        """(room, sender) → counters that may be missing, or be stored late."""
        self.notes: dict[str, None] = {}
        self.conflicts: dict[tuple[str, int], Conflict] = {}
        self.uncompared = 0
        """Messages received so late that the log of their room had dropped their seq."""
        self._spilled_conflicts: set[tuple[str, int]] = set()
        self._room_counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._ranges_used: Counter[str] = Counter()

    def count_fault(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Count one fault for each seq from `first` to `last` of one receiver, and record its text."""
        self.counts[kind] += last - first + 1
        self.record_text(kind, room, bot, first, last, detail)

    def record_text(self, kind: str, room: str, bot: str, first: int, last: int, detail: str) -> None:
        """Record the text of a fault that is counted elsewhere."""
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(
                AuditFault(kind=kind, room=room, bot=bot, first=first, last=last, detail=detail)
            )

    def count_room_fault(self, fault: RoomFault) -> None:
        """Count a fault of a room's contents, once for any number of receivers."""
        key = (fault.kind, fault.room, fault.seq)
        if key in self.room_faults:
            return
        self._room_counts[fault.kind] += 1
        if len(self.room_faults) < ROOM_FAULTS_KEPT:
            self.room_faults[key] = fault
        else:
            self.spilled[fault.kind] += 1

    def add_conflict(self, room: str, seq: int, sender: str, known: int, line: bytes) -> Conflict | None:
        """Return the conflict at a seq, which is counted when it is new; None if too many are kept.

        `known` is the digest that was observed first, and `line` its frame, if at hand.
        """
        conflict = self.conflicts.get((room, seq))
        if conflict is None:
            if len(self.conflicts) >= CONFLICTS_KEPT:
                self._spill_conflict((room, seq))
                return None
            self._room_counts["mismatched"] += 1
            first = ShownVariant(known, [], 0, line[:VARIANT_LINE_BYTES])
            conflict = self.conflicts[room, seq] = Conflict(room, seq, sender, [first])
        return conflict

    def _spill_conflict(self, place: tuple[str, int]) -> None:
        if place in self._spilled_conflicts:
            return
        if len(self._spilled_conflicts) < SPILLED_CONFLICTS_KEPT:
            self._spilled_conflicts.add(place)
        self._room_counts["mismatched"] += 1
        self.spilled["mismatched"] += 1

    def excuse_counter(self, room: str, sender: str, counter: int) -> None:
        """Allow this counter of a sender to be missing, or to be stored late."""
        ranges = self.excused.get((room, sender))
        if ranges is None:
            ranges = self.excused[room, sender] = IntervalSet()
        if self._has_space_for("refused"):
            before = len(ranges)
            ranges.add(counter, counter)
            self._ranges_used["refused"] += len(ranges) - before

    def reserve_skip(self) -> bool:
        """Reserve space for one more range of skipped counters; return whether there is any left."""
        self._ranges_used["skipped"] += 1
        return self._has_space_for("skipped")

    def _has_space_for(self, what: str) -> bool:
        if self._ranges_used[what] <= COUNTER_RANGES_KEPT:
            return True
        note = (
            f"more than {COUNTER_RANGES_KEPT} ranges of {what} counters: lost messages of senders not checked"
        )
        self.notes[note] = None
        return False

    def take_new_counts(self) -> dict[str, int]:
        """Return the faults found since the last call, by kind.

        A loss that was returned once is not taken back if the message arrives late; a later loss then offsets
        it. So no number is ever negative, and only the final counts are exact.
        """
        fresh = {
            kind: number
            for kind, count in (self.counts + self._room_counts).items()
            if (number := count - self._reported[kind]) > 0
        }
        self._reported.update(fresh)
        return fresh


def add_variant(conflict: Conflict, bot: str, digest: int, line: bytes) -> None:
    """Record that a receiver was shown this variant."""
    for variant in conflict.variants:
        if not are_different(variant.digest, digest):
            break
    else:
        variant = ShownVariant(digest, [], 0, line[:VARIANT_LINE_BYTES])
        conflict.variants.append(variant)
    if len(variant.bots) < VARIANT_BOTS_KEPT:
        variant.bots.append(bot)
    else:
        variant.unnamed += 1
