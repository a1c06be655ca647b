"""The log of one room as one process observed it: which message has which seq, and each sender's order.

Theory of operation. A message is (sender, counter): a sender's counter rises by one with each message in the
room and never restarts during a run. The log maps seq → message and checks that each sender's counters ascend
with seq.

1. Entry: one 64-bit integer a seq, `sender number << COUNTER_BITS | counter`. Senders are numbered from 1, so
   0 is a hole: a seq that no bot of this process got yet. `_base` is the seq of the first entry.
2. Order: `_checked_to` is the seq up to which it is checked. The check stops at a hole, since the missing seq
   may still arrive. Once `HOLE_PATIENCE_SEQS` seqs follow, it skips the hole, and any next counter of any
   sender is accepted; so is the first counter of a sender.
3. Result: last counter + 1 is correct. A higher one skips counters, which the master reports as lost unless
   they were excused or observed elsewhere. A lower one is `repeated` if the window has that entry already,
   else `reordered`, unless excused (the message was sent again after an error).
4. Memory: the window holds `WINDOW_SEQS` entries. Older ones become digests, one for each block of
   `BLOCK_SEQS` seqs; blocks start at fixed seqs, so logs of processes that joined at different times can be
   compared.

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

from chat_swarm.audit.fault_log import FaultLog
from chat_swarm.audit.findings import RoomFault, RoomLogExport, SkippedCounters

COUNTER_BITS: Final = 40
COUNTER_MASK: Final = (1 << COUNTER_BITS) - 1
"""The low bits of an entry, below the sender's number."""
WINDOW_SEQS: Final = 2_048
"""Seqs with entries: 16 KiB a room. Older messages that are read again are not compared."""
BLOCK_SEQS: Final = 256
"""Seqs whose entries become one digest when they leave the window; block n ends with seq n * BLOCK_SEQS."""
DIGESTS_KEPT: Final = 4_096
"""Digests kept for a room."""
HOLE_PATIENCE_SEQS: Final = 512
"""Seqs observed after a hole before the check skips it."""
_ANY_COUNTER: Final = -2  # in `_last_counters`: any next counter of this sender is correct


class RoomLog:
    """The log starts with the first message observed; earlier seqs are not checked."""

    __slots__ = (
        "_base",
        "_checked_to",
        "_digests",
        "_entries",
        "_fault_log",
        "_last_counters",
        "_room",
        "_sender_numbers",
        "_skips",
    )

    def __init__(self, room: str, seq: int, fault_log: FaultLog) -> None:
        self._room = room
        self._fault_log = fault_log
        self._base = seq  # the seq of the first entry
        self._entries = array("Q")
        self._checked_to = seq - 1  # the senders' order is checked up to here
        self._sender_numbers: dict[str, int] = {}  # from 1: an entry of 0 is a hole
        self._last_counters = array("q", [_ANY_COUNTER])  # by number: the highest counter so far
        self._skips: list[SkippedCounters] = []
        self._digests: dict[int, int] = {}

    @property
    def head(self) -> int:
        """The highest seq observed."""
        return self._base + len(self._entries) - 1

    def observe(self, seq: int, sender: str, counter: int) -> None:
        """Record a message; it may have been observed before."""
        entries = self._entries
        if seq == self._checked_to + 1 == self._base + len(entries):
            number = self._sender_numbers.get(sender, 0)
            if self._last_counters[number] + 1 == counter:
                self._last_counters[number] = counter
                entries.append(number << COUNTER_BITS | counter)
                self._checked_to = seq
                if len(entries) >= WINDOW_SEQS + BLOCK_SEQS:
                    self._digest_oldest_block()
                return
        index = seq - self._base
        if index < 0:
            return
        entry = self._number_of(sender) << COUNTER_BITS | counter
        if index >= len(entries):
            self._append_entry(seq, entry)
        elif not entries[index]:
            entries[index] = entry
        elif entries[index] != entry:
            self._report_mismatch(seq, entries[index], entry)
            return
        else:
            return
        self._check_order()
        while self.head - self._checked_to > HOLE_PATIENCE_SEQS:
            self._skip_hole()
        while len(self._entries) >= WINDOW_SEQS + BLOCK_SEQS:
            self._digest_oldest_block()

    def check_rest(self) -> None:
        """Check the order of all entries that remain, skipping every hole."""
        while self._checked_to < self.head:
            self._skip_hole()

    def export(self) -> RoomLogExport:
        """Return the log, for comparison with those of other processes."""
        entries = self._entries
        if sys.byteorder == "big":
            entries = entries[:]
            entries.byteswap()
        return RoomLogExport(self._base, list(self._sender_numbers), entries.tobytes(), self._digests)

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

    def _append_entry(self, seq: int, entry: int) -> None:
        hole = seq - self.head - 1
        if hole > WINDOW_SEQS:  # no bot was in the room for long: earlier entries are of no use
            self.check_rest()
            self._accept_any_counter()
            self._entries = array("Q")
            self._base = seq
            self._checked_to = seq - 1
        else:
            self._entries.extend([0] * hole)
        self._entries.append(entry)

    def _accept_any_counter(self) -> None:
        """Accept any next counter of every sender."""
        self._last_counters = array("q", [_ANY_COUNTER]) * len(self._last_counters)

    def _check_order(self) -> None:
        """Check the senders' order up to the next hole."""
        entries = self._entries
        index = self._checked_to + 1 - self._base
        while index < len(entries) and (entry := entries[index]):
            self._check_entry(self._base + index, entry)
            index += 1
        self._checked_to = self._base + index - 1

    def _skip_hole(self) -> None:
        """Skip the hole after `_checked_to`, and check the entries after it."""
        entries = self._entries
        index = self._checked_to + 1 - self._base
        while index < len(entries) and not entries[index]:
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

    def _report_mismatch(self, seq: int, entry: int, other: int) -> None:
        sender, second = self._sender_of(entry), self._sender_of(other)
        counter = entry & COUNTER_MASK
        one = f"message {counter} of {sender}"
        two = f"message {other & COUNTER_MASK} of {second}"
        detail = f"seq {seq} is {one} for one receiver, and {two} for another"
        self._fault_log.count_room_fault(RoomFault("mismatched", self._room, seq, sender, counter, detail))
        # Nothing shows which of the two is right, so neither sender's next counter can be checked.
        self._last_counters[entry >> COUNTER_BITS] = self._last_counters[other >> COUNTER_BITS] = _ANY_COUNTER
        self._cancel_skip(second, other & COUNTER_MASK)

    def _digest_oldest_block(self) -> None:
        """Replace the entries of the oldest block by a digest."""
        block = (self._base - 1) // BLOCK_SEQS + 1
        size = block * BLOCK_SEQS - self._base + 1
        old = self._entries[:size]
        del self._entries[:size]
        self._base += size
        senders = ["", *self._sender_numbers]
        words = [f"{senders[entry >> COUNTER_BITS]} {entry & COUNTER_MASK}" for entry in old]
        holes = crc32(bytes(entry > 0 for entry in old), size)
        self._digests[block] = holes << 32 | crc32("\n".join(words).encode())
        if len(self._digests) > DIGESTS_KEPT:
            del self._digests[next(iter(self._digests))]


def _split_skip(skip: SkippedCounters, sender: str, counter: int) -> Iterator[SkippedCounters]:
    if skip.sender != sender or not skip.first <= counter <= skip.last:
        yield skip
        return
    if skip.first < counter:
        yield SkippedCounters(sender, skip.first, counter - 1, skip.seq)
    if counter < skip.last:
        yield SkippedCounters(sender, counter + 1, skip.last, skip.seq)
