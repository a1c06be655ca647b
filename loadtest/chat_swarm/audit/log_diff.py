"""Comparison of the room logs of several processes: the same seq must be the same message in all of them."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from chat_swarm.audit.digest import are_different
from chat_swarm.audit.findings import RoomLogExport
from chat_swarm.audit.room_log import BLOCK_SEQS, COUNTER_BITS, COUNTER_MASK
from chat_swarm.model.schema import AuditFault

MessageKey = tuple[str, int]
"""A message's identity: (sender, counter)."""


def decode_entries(record: RoomLogExport) -> Iterator[tuple[int, MessageKey]]:
    """Yield (seq, message) for every entry of an exported room log."""
    senders = ["", *record.senders]
    for seq, entry in enumerate(_numbers(record.entries), record.base):
        if entry:
            yield seq, (senders[entry >> COUNTER_BITS], entry & COUNTER_MASK)


def digest_at(record: RoomLogExport, seq: int) -> int:
    """Return the digest of the message that a process observed first at a seq; 0 if none is recorded."""
    index = seq - record.base
    if not 0 <= index < len(record.digests) // 8:
        return 0
    return int.from_bytes(record.digests[8 * index : 8 * index + 8], "little")


def sender_at(record: RoomLogExport, seq: int) -> str:
    """Return the sender of the message at a seq; "" if it is unknown or no bot of the run."""
    index = seq - record.base
    if not 0 <= index < len(record.entries) // 8:
        return ""
    entry = int.from_bytes(record.entries[8 * index : 8 * index + 8], "little")
    return ["", *record.senders][entry >> COUNTER_BITS]


def differing_seqs(records: Sequence[RoomLogExport]) -> Iterator[int]:
    """Yield each seq of a room for which two processes recorded different messages."""
    if all(_equal(one, other) for one, other in pairwise(records)):
        return
    known: dict[int, int] = {}
    for record in records:
        for seq, digest in enumerate(_numbers(record.digests), record.base):
            if digest and are_different(known.setdefault(seq, digest), digest):
                yield seq


def differing_blocks(room: str, records: Sequence[RoomLogExport]) -> Iterator[AuditFault]:
    """Yield a fault for each block of old seqs that is not the same in all processes."""
    known: dict[int, int] = {}
    for record in records:
        for block, digest in record.blocks.items():
            first = known.setdefault(block, digest)
            # Digests of different sets of seqs cannot be compared.
            if first >> 32 == digest >> 32 and first != digest:
                start, end = block * BLOCK_SEQS - BLOCK_SEQS + 1, block * BLOCK_SEQS
                detail = (
                    f"a seq of {start} to {end} is one message in one process, and a different message in"
                    " another; it is too old to say which, and at which receivers"
                )
                yield AuditFault(kind="mismatched", room=room, bot="", first=start, last=end, detail=detail)


def _numbers(packed: bytes) -> "array[int]":
    numbers = array("Q", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _equal(one: RoomLogExport, other: RoomLogExport) -> bool:
    return (one.base, one.digests) == (other.base, other.digests)
