"""What several processes were shown in one room, held against each other.

Knows records (audit/room_log.py). Must not know receivers.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise

from chat_swarm.audit.findings import Record
from chat_swarm.audit.room_log import BLOCK, COUNTER, COUNTER_BITS
from chat_swarm.model.schema import Fault

Message = tuple[str, int]
"""A sender and its counter."""


def messages(record: Record) -> Iterator[tuple[int, Message]]:
    """Yield what has an entry: its seq and the message."""
    entries = array("Q", record.entries)
    if sys.byteorder == "big":
        entries.byteswap()
    senders = ["", *record.senders]
    for seq, entry in enumerate(entries, record.base):
        if entry:
            yield seq, (senders[entry >> COUNTER_BITS], entry & COUNTER)


def differences(room: str, records: list[Record]) -> Iterator[Fault]:
    """Yield the seqs under which processes were shown different messages, one or more times."""
    if all(_alike(one, other) for one, other in pairwise(records)):
        return
    known: dict[int, Message] = {}
    for record in records:
        for seq, message in messages(record):
            first = known.setdefault(seq, message)
            if first != message:
                yield _fault(room, first[0], seq, seq, f"{seq} is {_words(first)}", _words(message))
    yield from _old_differences(room, records)


def _old_differences(room: str, records: Iterable[Record]) -> Iterator[Fault]:
    known: dict[int, int] = {}
    for record in records:
        for block, digest in record.blocks.items():
            first = known.setdefault(block, digest)
            # Where different seqs were shown, the messages cannot be compared.
            if first >> 32 == digest >> 32 and first != digest:
                start, end = block * BLOCK - BLOCK + 1, block * BLOCK
                yield _fault(
                    room, "", start, end, f"one of {start} to {end} is one message", "a different message"
                )


def _alike(one: Record, other: Record) -> bool:
    return (one.base, one.senders, one.entries, one.blocks) == (
        other.base,
        other.senders,
        other.entries,
        other.blocks,
    )


def _words(message: Message) -> str:
    return f"message {message[1]} of {message[0]}"


def _fault(room: str, bot: str, first: int, last: int, one: str, other: str) -> Fault:
    detail = f"{one} to one process, and {other} to another"
    return Fault(kind="mismatched", room=room, bot=bot, first=first, last=last, detail=detail)
