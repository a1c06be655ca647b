"""The log of one room as one process observed it: which message has which seq, and each sender's order.

Theory of operation. A message is (sender, counter): a sender's counter rises by one with each message in the
room and never restarts during a run. The log maps seq → message and checks that each sender's counters ascend
with seq.

1. Entry: one 64-bit integer a seq, `sender number << COUNTER_BITS | counter`. Senders are numbered from 1, so
   0 is no message of the run. `_base` is the seq of the first entry.
2. Contents: a second array holds the digest of each message (audit/digest.py), also of other programs'; 0 is
   a hole: a seq that no bot of this process got yet. A seq that is observed again with another digest is a
   conflict.
3. Order: `_checked_to` is the seq up to which it is checked. The check stops at a hole, since the missing seq
   may still arrive. Once `HOLE_PATIENCE_SEQS` seqs follow, it skips the hole, and any next counter of any
   sender is accepted; so is the first counter of a sender.
4. Result: last counter + 1 is correct. A higher one skips counters, which the master reports as lost unless
   they were excused or observed elsewhere. A lower one is `repeated` if the window has that entry already,
   else `reordered`, unless excused (the message was sent again after an error).
5. Memory: the window holds `WINDOW_SEQS` entries, and more while the process's `WindowBudget` lasts. Older
   ones become digests, one for each block of `BLOCK_SEQS` seqs; blocks start at fixed seqs, so logs of
   processes that joined at different times can be compared.

Example, with ann = 1 and bob = 2 ("1:3" is ann's message 3); `_checked_to` is 2:

    seq       1    2    3    4    5
    entries  1:1  2:1   0   1:3  1:2

    If seq 3 arrives (2:2): 3 is correct; 4 skips ann's counter 2; at 5, 2 < 3: `reordered`, skip cancelled.
    If it never arrives: 512 seqs later the check skips 3; 4 is accepted; at 5, 2 < 3: `reordered`.

`observe` runs for each decoded frame; the usual case (next seq, next counter) returns early.
"""

import sys
from array import array
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from chat_swarm.audit.digest import are_different, fields_part
from chat_swarm.audit.fault_log import FaultLog
from chat_swarm.audit.findings import RoomFault, RoomLogExport, SkippedCounters

COUNTER_BITS: Final = 40
COUNTER_MASK: Final = (1 << COUNTER_BITS) - 1
"""The low bits of an entry, below the sender's number."""
WINDOW_SEQS: Final = 2_048
"""Seqs with entries that every room has: 32 KiB."""
SHARED_WINDOW_SEQS: Final = 1 << 20
"""Further seqs with entries, of all rooms of a process together: 16 MiB. Older ones are not compared."""
BLOCK_SEQS: Final = 256
"""Seqs whose entries become one digest when they leave the window; block n ends with seq n * BLOCK_SEQS."""
DIGESTS_KEPT: Final = 4_096
"""Digests kept for a room."""
HOLE_PATIENCE_SEQS: Final = 512
"""Seqs observed after a hole before the check skips it."""
_ANY_COUNTER: Final = -2  # in `_last_counters`: any next counter of this sender is correct


class WindowBudget:
    """What the rooms of a process may keep beyond their windows, in blocks."""

    def __init__(self) -> None:
        self._blocks_left = SHARED_WINDOW_SEQS // BLOCK_SEQS

    def take_block(self) -> bool:
        """Reserve one more block; return whether there was one left."""
        self._blocks_left -= 1
        return self._blocks_left >= 0

    def return_blocks(self, blocks: int) -> None:
        """Return blocks that were reserved."""
        self._blocks_left = max(self._blocks_left, 0) + blocks


class RoomLog:
    """The log starts with the first message observed; earlier seqs are not checked."""

    __slots__ = (
        "_base",
        "_block_digests",
        "_budget",
        "_checked_to",
        "_digests",
        "_entries",
        "_fault_log",
        "_last_counters",
        "_most_entries",
        "_room",
        "_sender_numbers",
        "_skips",
        "_trimmed",
    )

    def __init__(self, room: str, seq: int, fault_log: FaultLog, budget: WindowBudget) -> None:
        self._room = room
        self._fault_log = fault_log
        self._budget = budget
        self._most_entries = WINDOW_SEQS + BLOCK_SEQS
        self._base = seq  # the seq of the first entry
        self._entries = array("Q")
        self._digests = array("Q")  # of the same seqs
        self._checked_to = seq - 1  # the senders' order is checked up to here
        self._sender_numbers: dict[str, int] = {}  # from 1: an entry of 0 is a hole
        self._last_counters = array("q", [_ANY_COUNTER])  # by number: the highest counter so far
        self._skips: list[SkippedCounters] = []
        self._block_digests: dict[int, int] = {}
        self._trimmed = False  # whether entries before `_base` were dropped

    @property
    def head(self) -> int:
        """The highest seq observed."""
        return self._base + len(self._entries) - 1

    def observe(self, seq: int, sender: str, counter: int, digest: int) -> int:
        """Record a message; it may have been observed before. Return the digest that it contradicts, else 0.

        `sender` is "" for a message that no bot of this run sent.
        """
        entries = self._entries
        if seq == self._checked_to + 1 == self._base + len(entries):
            number = self._sender_numbers.get(sender, 0)
            if self._last_counters[number] + 1 == counter:
                self._last_counters[number] = counter
                entries.append(number << COUNTER_BITS | counter)
                self._digests.append(digest)
                self._checked_to = seq
                if len(entries) >= self._most_entries:
                    self._make_space()
                return 0
        index = seq - self._base
        if index < 0:
            if self._trimmed or len(entries) - index > WINDOW_SEQS:
                self._fault_log.uncompared += 1
                return 0
            self._prepend_holes(-index)
            entries, index = self._entries, 0
        if index < len(entries) and (known := self._digests[index]):
            if known == digest:
                return 0
            if not are_different(known, digest):
                self._digests[index] = max(known, digest)  # the one with both halves
                return 0
            entry = self._number_of(sender) << COUNTER_BITS | counter if sender else 0
            if entries[index] != entry:
                self._accept_either(entries[index], entry)
            return known
        entry = self._number_of(sender) << COUNTER_BITS | counter if sender else 0
        if index >= len(entries):
            self._append_entry(seq, entry, digest)
        else:
            entries[index] = entry
            self._digests[index] = digest
        self._check_order()
        while self.head - self._checked_to > HOLE_PATIENCE_SEQS:
            self._skip_hole()
        while len(self._entries) >= self._most_entries:
            self._make_space()
        return 0

    def sender_at(self, seq: int) -> str:
        """Return the sender of the message observed first at a seq of the window; "" if no bot of the run."""
        entry = self._entries[seq - self._base]
        return self._sender_of(entry) if entry else ""

    def check_rest(self) -> None:
        """Check the order of all entries that remain, skipping every hole."""
        while self._checked_to < self.head:
            self._skip_hole()

    def export(self) -> RoomLogExport:
        """Return the log, for comparison with those of other processes."""
        return RoomLogExport(
            self._base,
            list(self._sender_numbers),
            _little_endian(self._entries),
            self._block_digests,
            _little_endian(self._digests),
        )

    def skips(self) -> list[SkippedCounters]:
        """Return the counters that senders skipped."""
        return self._skips

    def _number_of(self, sender: str) -> int:
        number = self._sender_numbers.get(sender)
        if number is None:
            number = self._sender_numbers[sender] = len(self._sender_numbers) + 1
            self._last_counters.append(_ANY_COUNTER)
        return number

    def _sender_of(self, entry: int) -> str:
        return list(self._sender_numbers)[(entry >> COUNTER_BITS) - 1]

    def _append_entry(self, seq: int, entry: int, digest: int) -> None:
        hole = seq - self.head - 1
        if hole > WINDOW_SEQS:  # no bot was in the room for long: earlier entries are of no use
            self.check_rest()
            self._accept_any_counter()
            self._entries, self._digests = array("Q"), array("Q")
            self._budget.return_blocks((self._most_entries - WINDOW_SEQS) // BLOCK_SEQS - 1)
            self._most_entries = WINDOW_SEQS + BLOCK_SEQS
            self._base = seq
            self._trimmed = True
            self._checked_to = seq - 1
        else:
            self._entries.extend([0] * hole)
            self._digests.extend([0] * hole)
        self._entries.append(entry)
        self._digests.append(digest)

    def _prepend_holes(self, number: int) -> None:
        """Make space for messages from before the first one observed; their senders' order is not checked."""
        for name in ("_entries", "_digests"):
            setattr(self, name, array("Q", [0]) * number + getattr(self, name))
        self._base -= number

    def _accept_any_counter(self) -> None:
        """Accept any next counter of every sender."""
        self._last_counters = array("q", [_ANY_COUNTER]) * len(self._last_counters)

    def _check_order(self) -> None:
        """Check the senders' order up to the next hole."""
        entries = self._entries
        digests = self._digests
        index = self._checked_to + 1 - self._base
        while index < len(entries) and digests[index]:
            if entry := entries[index]:
                self._check_entry(self._base + index, entry)
            index += 1
        self._checked_to = self._base + index - 1

    def _skip_hole(self) -> None:
        """Skip the hole after `_checked_to`, and check the entries after it."""
        digests = self._digests
        index = self._checked_to + 1 - self._base
        while index < len(digests) and not digests[index]:
            index += 1
        self._checked_to = self._base + index - 1
        self._accept_any_counter()
        self._check_order()

    def _check_entry(self, seq: int, entry: int) -> None:
        number, counter = entry >> COUNTER_BITS, entry & COUNTER_MASK
        last = self._last_counters[number]
        if counter > last:
            self._last_counters[number] = counter
            if last != _ANY_COUNTER and counter > last + 1 and self._fault_log.reserve_skip():
                self._skips.append(SkippedCounters(self._sender_of(entry), last + 1, counter - 1, seq))
            return
        sender = self._sender_of(entry)
        before = self._entries.index(entry) + self._base
        if before < seq:
            detail = f"message {counter} of {sender} was stored twice: as seq {before} and as seq {seq}"
            self._fault_log.count_room_fault(RoomFault("repeated", self._room, seq, sender, counter, detail))
            return
        self._cancel_skip(sender, counter)
        if counter in self._fault_log.excused.get((self._room, sender), ()):
            return  # it was sent again after an error
        detail = f"message {counter} of {sender} has seq {seq}, after its message {last}"
        self._fault_log.count_room_fault(RoomFault("reordered", self._room, seq, sender, counter, detail))

    def _cancel_skip(self, sender: str, counter: int) -> None:
        """Remove this message from the skipped counters: it was observed after all."""
        self._skips = [part for skip in self._skips for part in _split_skip(skip, sender, counter)]

    def _accept_either(self, entry: int, other: int) -> None:
        """Accept any next counter of two senders: nothing here shows which of their messages has the seq."""
        for one in (entry, other):
            if one:
                self._last_counters[one >> COUNTER_BITS] = _ANY_COUNTER
        if other:
            self._cancel_skip(self._sender_of(other), other & COUNTER_MASK)

    def _make_space(self) -> None:
        if self._budget.take_block():
            self._most_entries += BLOCK_SEQS
        else:
            self._digest_oldest_block()

    def _digest_oldest_block(self) -> None:
        """Replace the entries of the oldest block by a digest."""
        block = (self._base - 1) // BLOCK_SEQS + 1
        size = block * BLOCK_SEQS - self._base + 1
        old, digests = self._entries[:size], self._digests[:size]
        del self._entries[:size], self._digests[:size]
        self._base += size
        self._trimmed = True
        senders = ["", *self._sender_numbers]
        words = [
            f"{senders[entry >> COUNTER_BITS]} {entry & COUNTER_MASK} {fields_part(digest)}"
            for entry, digest in zip(old, digests, strict=True)
        ]
        holes = crc32(bytes(digest > 0 for digest in digests), size)
        self._block_digests[block] = holes << 32 | crc32("\n".join(words).encode())
        if len(self._block_digests) > DIGESTS_KEPT:
            del self._block_digests[next(iter(self._block_digests))]


def _little_endian(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _split_skip(skip: SkippedCounters, sender: str, counter: int) -> Iterator[SkippedCounters]:
    if skip.sender != sender or not skip.first <= counter <= skip.last:
        yield skip
        return
    if skip.first < counter:
        yield SkippedCounters(sender, skip.first, counter - 1, skip.seq)
    if counter < skip.last:
        yield SkippedCounters(sender, counter + 1, skip.last, skip.seq)
