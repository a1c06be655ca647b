"""What one process was shown in a room: which message has which seq, and each sender's order.

Knows seqs, senders and their counters: a sender's counter goes up by one with each message that it says in
this room, and never starts anew. Must not know who was shown what. `shown` runs for each decoded frame.
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
"""An entry is the sender's number, then its counter in these bits."""
WINDOW_SEQS: Final = 2_048
"""Seqs that have entries: 16 KiB in the busiest room; who reads again what is older is not compared."""
BLOCK_SEQS: Final = 256
"""Seqs whose entries become one digest when they leave the window; block n ends with seq n * BLOCK."""
DIGESTS_KEPT: Final = 4_096
"""Digests that are kept."""
HOLE_PATIENCE_SEQS: Final = 512
"""Seqs that are shown beyond a hole before nobody of this process is taken to have been there."""
_ANY_COUNTER: Final = -2  # in `_lasts`: this sender's next counter may be any


class RoomLog:
    """The log begins with the first message that is shown; what comes before it is not compared."""

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
        self._checked_to = seq - 1  # up to here, the senders' order has been looked at
        self._sender_numbers: dict[str, int] = {}  # from 1: an entry of 0 is a hole
        self._last_counters = array("q", [_ANY_COUNTER])  # by number: the highest counter so far
        self._skips: list[SkippedCounters] = []
        self._digests: dict[int, int] = {}

    @property
    def head(self) -> int:
        """The highest seq that was shown."""
        return self._base + len(self._entries) - 1

    def observe(self, seq: int, sender: str, counter: int) -> None:
        """Take a message; it may have been shown before."""
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
        """Look at all that was shown, whatever is missing in between."""
        while self._checked_to < self.head:
            self._skip_hole()

    def export(self) -> RoomLogExport:
        """Return what was shown, for comparison with what other processes were shown."""
        entries = self._entries
        if sys.byteorder == "big":
            entries = entries[:]
            entries.byteswap()
        return RoomLogExport(self._base, list(self._sender_numbers), entries.tobytes(), self._digests)

    def skips(self) -> list[SkippedCounters]:
        """Return the counters that senders left out."""
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
        if hole > WINDOW_SEQS:  # nobody was there for long: what came before is of no more use
            self.check_rest()
            self._accept_any_counter()
            self._entries = array("Q")
            self._base = seq
            self._checked_to = seq - 1
        else:
            self._entries.extend([0] * hole)
        self._entries.append(entry)

    def _accept_any_counter(self) -> None:
        """Let any counter of any sender come next."""
        self._last_counters = array("q", [_ANY_COUNTER]) * len(self._last_counters)

    def _check_order(self) -> None:
        """Look at the senders' order as far as there is no hole."""
        entries = self._entries
        index = self._checked_to + 1 - self._base
        while index < len(entries) and (entry := entries[index]):
            self._check_entry(self._base + index, entry)
            index += 1
        self._checked_to = self._base + index - 1

    def _skip_hole(self) -> None:
        """Give up the hole after `_ordered`, and look on behind it."""
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
            detail = f"message {counter} of {sender} was stored twice: as {before} and as {seq}"
            self._fault_log.count_room_fault(RoomFault("repeated", self._room, seq, sender, counter, detail))
            return
        self._cancel_skip(sender, counter)
        if counter in self._fault_log.excused.get((self._room, sender), ()):
            return  # it was sent again
        detail = f"message {counter} of {sender} came as {seq}, after its message {last}"
        self._fault_log.count_room_fault(RoomFault("reordered", self._room, seq, sender, counter, detail))

    def _cancel_skip(self, sender: str, counter: int) -> None:
        """Take back that this message was left out."""
        self._skips = [part for skip in self._skips for part in _split_skip(skip, sender, counter)]

    def _report_mismatch(self, seq: int, entry: int, other: int) -> None:
        sender, second = self._sender_of(entry), self._sender_of(other)
        counter = entry & COUNTER_MASK
        one = f"message {counter} of {sender}"
        two = f"message {other & COUNTER_MASK} of {second}"
        detail = f"{seq} is {one} to one receiver, and {two} to another"
        self._fault_log.count_room_fault(RoomFault("mismatched", self._room, seq, sender, counter, detail))
        # Which of them is the right one nobody knows: what the counters of either say is void.
        self._last_counters[entry >> COUNTER_BITS] = self._last_counters[other >> COUNTER_BITS] = _ANY_COUNTER
        self._cancel_skip(second, other & COUNTER_MASK)

    def _digest_oldest_block(self) -> None:
        """Make a digest of the oldest block."""
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
