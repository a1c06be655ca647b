"""Digest of a message as one receiver was shown it: what must be equal for all receivers of a seq.

64 bits: the CRC-32 of the frame's bytes in the upper half, that of its fields in the lower half. The upper
half is 0 where only the fields are known: for a message that a ChurnBot got (its library decodes the frame),
and for an `again` frame, whose bytes differ from the original by definition.

CRC-32 detects every change within 32 consecutive bits; any other change is missed once in 2^32.
"""

from collections.abc import Callable
from typing import Final
from zlib import crc32

import msgspec

from chat_protocol.events import MessageEvent

_FIELDS_MASK: Final = (1 << 32) - 1
_encode_fields: Callable[[object], bytes] = msgspec.json.Encoder().encode


def digest_of(event: MessageEvent, line: bytes = b"") -> int:
    """Return the digest of a message; `line` is its frame without the newline, empty if unknown.

    Never 0, which means "not observed".
    """
    fields = (
        event.room,
        event.seq,
        event.sender,
        event.username,
        event.message,
        event.timestamp,
        event.origin,
        event.ref,
    )
    return crc32(line) << 32 | (crc32(_encode_fields(fields)) or 1)


def are_different(one: int, other: int) -> bool:
    """Return whether two digests are of different messages; unknown bytes equal any bytes."""
    if (one ^ other) & _FIELDS_MASK:
        return True
    return one >> 32 != other >> 32 and bool(one >> 32) and bool(other >> 32)


def fields_part(digest: int) -> int:
    """Return the half that all processes know."""
    return digest & _FIELDS_MASK
