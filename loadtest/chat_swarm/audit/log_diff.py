"""Comparison of the room logs of several processes: the same seq must be the same message in all of them."""

import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise

from chat_swarm.audit.findings import RoomLogExport
from chat_swarm.audit.room_log import BLOCK_SEQS, COUNTER_BITS, COUNTER_MASK
from chat_swarm.model.schema import AuditFault

MessageKey = tuple[str, int]
"""A message's identity: (sender, counter)."""


def decode_entries(record: RoomLogExport) -> Iterator[tuple[int, MessageKey]]:
    """Yield (seq, message) for every entry of an exported room log."""
    entries = array("Q", record.entries)
    if sys.byteorder == "big":
        entries.byteswap()
    senders = ["", *record.senders]
    for seq, entry in enumerate(entries, record.base):
        if entry:
            yield seq, (senders[entry >> COUNTER_BITS], entry & COUNTER_MASK)


def find_mismatches(room: str, records: list[RoomLogExport]) -> Iterator[AuditFault]:
    """Yield a fault for each seq, or block of old seqs, that is not the same message in all processes."""
    if all(_equal(one, other) for one, other in pairwise(records)):
        return
    known: dict[int, MessageKey] = {}
    for record in records:
        for seq, message in decode_entries(record):
            first = known.setdefault(seq, message)
            if first != message:
                yield _mismatch(
                    room, first[0], seq, seq, f"seq {seq} is {_describe(first)}", _describe(message)
                )
    yield from _digest_mismatches(room, records)


def _digest_mismatches(room: str, records: Iterable[RoomLogExport]) -> Iterator[AuditFault]:
    known: dict[int, int] = {}
    for record in records:
        for block, digest in record.blocks.items():
            first = known.setdefault(block, digest)
            # Digests of different sets of seqs cannot be compared.
            if first >> 32 == digest >> 32 and first != digest:
                start, end = block * BLOCK_SEQS - BLOCK_SEQS + 1, block * BLOCK_SEQS
                yield _mismatch(
                    room, "", start, end, f"a seq of {start} to {end} is one message", "a different message"
                )


def _equal(one: RoomLogExport, other: RoomLogExport) -> bool:
    return (one.base, one.senders, one.entries, one.blocks) == (
        other.base,
        other.senders,
        other.entries,
        other.blocks,
    )


def _describe(message: MessageKey) -> str:
    return f"message {message[1]} of {message[0]}"


def _mismatch(room: str, bot: str, first: int, last: int, one: str, other: str) -> AuditFault:
    detail = f"{one} in one process, and {other} in another"
    return AuditFault(kind="mismatched", room=room, bot=bot, first=first, last=last, detail=detail)
