"""What one process was shown in a room: which message has which seq, and each sender's order.

Knows seqs, senders and their counters: a sender's counter goes up by one with each message that it says in
this room, and never starts anew. Must not know who was shown what. `shown` runs for each decoded frame.
"""

import sys
from array import array
from collections.abc import Iterator
from typing import Final
from zlib import crc32

from chat_swarm.audit.fault_log import Ledger
from chat_swarm.audit.findings import Record, RoomFault, Skip

COUNTER_BITS: Final = 40
COUNTER: Final = (1 << COUNTER_BITS) - 1
"""An entry is the sender's number, then its counter in these bits."""
WINDOW: Final = 2_048
"""Seqs that have entries: 16 KiB in the busiest room; who reads again what is older is not compared."""
BLOCK: Final = 256
"""Seqs whose entries become one digest when they leave the window; block n ends with seq n * BLOCK."""
BLOCKS: Final = 4_096
"""Digests that are kept."""
PATIENCE: Final = 512
"""Seqs that are shown beyond a hole before nobody of this process is taken to have been there."""
_UNKNOWN: Final = -2  # in `_lasts`: this sender's next counter may be any


class RoomLog:
    """The log begins with the first message that is shown; what comes before it is not compared."""

    __slots__ = (
        "_base",
        "_blocks",
        "_entries",
        "_lasts",
        "_ledger",
        "_numbers",
        "_ordered",
        "_room",
        "_skips",
    )

    def __init__(self, room: str, seq: int, ledger: Ledger) -> None:
        self._room = room
        self._ledger = ledger
        self._base = seq  # the seq of the first entry
        self._entries = array("Q")
        self._ordered = seq - 1  # up to here, the senders' order has been looked at
        self._numbers: dict[str, int] = {}  # from 1: an entry of 0 is a hole
        self._lasts = array("q", [_UNKNOWN])  # by number: the highest counter so far
        self._skips: list[Skip] = []
        self._blocks: dict[int, int] = {}

    @property
    def head(self) -> int:
        """The highest seq that was shown."""
        return self._base + len(self._entries) - 1

    def shown(self, seq: int, sender: str, counter: int) -> None:
        """Take a message; it may have been shown before."""
        entries = self._entries
        if seq == self._ordered + 1 == self._base + len(entries):
            number = self._numbers.get(sender, 0)
            if self._lasts[number] + 1 == counter:
                self._lasts[number] = counter
                entries.append(number << COUNTER_BITS | counter)
                self._ordered = seq
                if len(entries) >= WINDOW + BLOCK:
                    self._fold()
                return
        index = seq - self._base
        if index < 0:
            return
        entry = self._number(sender) << COUNTER_BITS | counter
        if index >= len(entries):
            self._append(seq, entry)
        elif not entries[index]:
            entries[index] = entry
        elif entries[index] != entry:
            self._differ(seq, entries[index], entry)
            return
        else:
            return
        self._look()
        while self.head - self._ordered > PATIENCE:
            self._look_on()
        while len(self._entries) >= WINDOW + BLOCK:
            self._fold()

    def finish(self) -> None:
        """Look at all that was shown, whatever is missing in between."""
        while self._ordered < self.head:
            self._look_on()

    def record(self) -> Record:
        """Return what was shown, for comparison with what other processes were shown."""
        entries = self._entries
        if sys.byteorder == "big":
            entries = entries[:]
            entries.byteswap()
        return Record(self._base, list(self._numbers), entries.tobytes(), self._blocks)

    def skips(self) -> list[Skip]:
        """Return the counters that senders left out."""
        return self._skips

    def _number(self, sender: str) -> int:
        number = self._numbers.get(sender)
        if number is None:
            number = self._numbers[sender] = len(self._numbers) + 1
            self._lasts.append(_UNKNOWN)
        return number

    def _sender(self, entry: int) -> str:
        return list(self._numbers)[(entry >> COUNTER_BITS) - 1]

    def _append(self, seq: int, entry: int) -> None:
        hole = seq - self.head - 1
        if hole > WINDOW:  # nobody was there for long: what came before is of no more use
            self.finish()
            self._forget()
            self._entries = array("Q")
            self._base = seq
            self._ordered = seq - 1
        else:
            self._entries.extend([0] * hole)
        self._entries.append(entry)

    def _forget(self) -> None:
        """Let any counter of any sender come next."""
        self._lasts = array("q", [_UNKNOWN]) * len(self._lasts)

    def _look(self) -> None:
        """Look at the senders' order as far as there is no hole."""
        entries = self._entries
        index = self._ordered + 1 - self._base
        while index < len(entries) and (entry := entries[index]):
            self._follow(self._base + index, entry)
            index += 1
        self._ordered = self._base + index - 1

    def _look_on(self) -> None:
        """Give up the hole after `_ordered`, and look on behind it."""
        entries = self._entries
        index = self._ordered + 1 - self._base
        while index < len(entries) and not entries[index]:
            index += 1
        self._ordered = self._base + index - 1
        self._forget()
        self._look()

    def _follow(self, seq: int, entry: int) -> None:
        number, counter = entry >> COUNTER_BITS, entry & COUNTER
        last = self._lasts[number]
        if counter > last:
            self._lasts[number] = counter
            if last != _UNKNOWN and counter > last + 1 and self._ledger.may_skip():
                self._skips.append(Skip(self._sender(entry), last + 1, counter - 1, seq))
            return
        sender = self._sender(entry)
        before = self._entries.index(entry) + self._base
        if before < seq:
            detail = f"message {counter} of {sender} was stored twice: as {before} and as {seq}"
            self._ledger.find_in_room(RoomFault("repeated", self._room, seq, sender, counter, detail))
            return
        self._unskip(sender, counter)
        if counter in self._ledger.refused.get((self._room, sender), ()):
            return  # it was sent again
        detail = f"message {counter} of {sender} came as {seq}, after its message {last}"
        self._ledger.find_in_room(RoomFault("reordered", self._room, seq, sender, counter, detail))

    def _unskip(self, sender: str, counter: int) -> None:
        """Take back that this message was left out."""
        self._skips = [part for skip in self._skips for part in _without(skip, sender, counter)]

    def _differ(self, seq: int, entry: int, other: int) -> None:
        sender, second = self._sender(entry), self._sender(other)
        counter = entry & COUNTER
        one = f"message {counter} of {sender}"
        two = f"message {other & COUNTER} of {second}"
        detail = f"{seq} is {one} to one receiver, and {two} to another"
        self._ledger.find_in_room(RoomFault("mismatched", self._room, seq, sender, counter, detail))
        # Which of them is the right one nobody knows: what the counters of either say is void.
        self._lasts[entry >> COUNTER_BITS] = self._lasts[other >> COUNTER_BITS] = _UNKNOWN
        self._unskip(second, other & COUNTER)

    def _fold(self) -> None:
        """Make a digest of the oldest block."""
        block = (self._base - 1) // BLOCK + 1
        size = block * BLOCK - self._base + 1
        old = self._entries[:size]
        del self._entries[:size]
        self._base += size
        senders = ["", *self._numbers]
        words = [f"{senders[entry >> COUNTER_BITS]} {entry & COUNTER}" for entry in old]
        holes = crc32(bytes(entry > 0 for entry in old), size)
        self._blocks[block] = holes << 32 | crc32("\n".join(words).encode())
        if len(self._blocks) > BLOCKS:
            del self._blocks[next(iter(self._blocks))]


def _without(skip: Skip, sender: str, counter: int) -> Iterator[Skip]:
    if skip.sender != sender or not skip.first <= counter <= skip.last:
        yield skip
        return
    if skip.first < counter:
        yield Skip(sender, skip.first, counter - 1, skip.seq)
    if counter < skip.last:
        yield Skip(sender, counter + 1, skip.last, skip.seq)
