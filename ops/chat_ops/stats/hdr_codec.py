"""Decoder for base64 HdrHistograms, many at once, into arrays of counts.

Format: HdrHistogram V2, compressed (github.com/HdrHistogram, `HdrHistogramEncoding`): two headers, then
counts as ZigZag LEB128 numbers; a negative number -n means n empty buckets. A log has a hundred thousand
payloads, so numpy decodes a batch in a few passes. A payload with another layout than the server's, or with
unexpected numbers, is decoded by the library hdrh.
"""

import binascii
import struct
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US: Final = 1
HIGHEST_US: Final = 3_600_000_000
SIGNIFICANT_DIGITS: Final = 3
"""Layout of the server's histograms (chat_server/observability/log_reporter.py)."""

_HALF_BUCKET_BITS: Final = 10
_HALF_BUCKETS: Final = 1 << _HALF_BUCKET_BITS
"""Three digits take 2,048 buckets of equal width; each doubling of the range adds half as many."""
BUCKET_COUNT: Final = (HIGHEST_US.bit_length() - _HALF_BUCKET_BITS + 1) * _HALF_BUCKETS
_OUTER_HEADER: Final = struct.Struct(">ii")
_INNER_HEADER: Final = struct.Struct(">iiiiqqd")
_OUTER_COOKIE: Final = 0x1C849304
_INNER_COOKIE: Final = 0x1C849303
_COOKIE_MASK: Final = ~0xF0
_LAYOUT: Final = (0, SIGNIFICANT_DIGITS, LOWEST_US, HIGHEST_US)
_MAX_BODY_BYTES: Final = BUCKET_COUNT * 9
_MAX_BUCKET_COUNT: Final = 1 << 49
"""A greater count in a bucket is invalid: at a million per second it takes 17 years."""

Ints = NDArray[np.int64]


class DecodedCounts(NamedTuple):
    """Non-empty buckets as parallel arrays: number of the payload, bucket index, count."""

    payload: Ints
    bucket: Ints
    times: Ints


def bucket_index(values: Ints) -> Ints:
    """Return the bucket index of each duration (µs)."""
    values = np.minimum(values, HIGHEST_US)
    doublings = np.maximum(np.frexp(values.astype(np.float64))[1] - (_HALF_BUCKET_BITS + 1), 0)
    found: Ints = (doublings.astype(np.int64) << _HALF_BUCKET_BITS) + (values >> doublings)
    return found


def bucket_highest_us(buckets: Ints) -> Ints:
    """Return the highest duration (µs) of each bucket."""
    doublings = np.maximum((buckets >> _HALF_BUCKET_BITS) - 1, 0)
    found: Ints = ((buckets - (doublings << _HALF_BUCKET_BITS) + 1) << doublings) - 1
    return found


def decode_payloads(payloads: Sequence[str]) -> tuple[DecodedCounts, list[int]]:
    """Return the counts of the payloads, and the numbers of the unreadable ones (which count as empty).

    Batches of some hundred are fastest: the arrays stay in the CPU cache.
    """
    bodies: list[bytes] = []
    owners: list[int] = []
    for_library: list[int] = []
    broken: list[int] = []
    for number, payload in enumerate(payloads):
        body = _encoded_counts(payload)
        if body is None:
            for_library.append(number)
        elif body:
            bodies.append(body)
            owners.append(number)
    counts, unsure = _decode_batch(bodies, np.array(owners, np.int64))
    parts = [counts]
    for number in (*for_library, *unsure):
        one = _decode_with_library(payloads[number], number)
        if one is None:
            broken.append(number)
        else:
            parts.append(one)
    return DecodedCounts(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))), broken


def _encoded_counts(payload: str) -> bytes | None:
    """Return the encoded counts of a payload; None if its layout is not the server's."""
    try:
        packed = binascii.a2b_base64(payload)
        cookie, length = _OUTER_HEADER.unpack_from(packed)
        if cookie & _COOKIE_MASK != _OUTER_COOKIE or length != len(packed) - _OUTER_HEADER.size:
            return None
        inflate = zlib.decompressobj()
        inner = inflate.decompress(packed[_OUTER_HEADER.size :], _INNER_HEADER.size + _MAX_BODY_BYTES)
        cookie, length, offset, digits, lowest, highest, _ratio = _INNER_HEADER.unpack_from(inner)
    except (ValueError, struct.error, zlib.error):
        return None
    body = inner[_INNER_HEADER.size :]
    whole = inflate.eof and length == len(body) and not (body and body[-1] & 0x80)
    if not whole or cookie & _COOKIE_MASK != _INNER_COOKIE or (offset, digits, lowest, highest) != _LAYOUT:
        return None
    return body


def _decode_batch(bodies: Sequence[bytes], owners: Ints) -> tuple[DecodedCounts, list[int]]:
    """Decode all bodies at once; also return the payloads that the library must decode."""
    data = np.frombuffer(b"".join(bodies), np.uint8)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    lengths = ends - starts + 1
    body_ends = np.cumsum([len(body) for body in bodies], dtype=np.int64)
    last = np.searchsorted(ends, body_ends)  # one past each body's last number
    first = np.concatenate(([0], last[:-1])) if len(last) else last
    body = np.repeat(np.arange(len(bodies)), last - first)  # body of each number

    number = (data[starts] & 0x7F).astype(np.int64)
    longer = np.flatnonzero(lengths > 1)
    for place in range(1, 8):
        number[longer] |= (data[starts[longer] + place] & 0x7F).astype(np.int64) << (7 * place)
        longer = longer[lengths[longer] > place + 1]
    number = (number >> 1) ^ -(number & 1)
    odd = np.abs(number) > _MAX_BUCKET_COUNT
    odd[longer] = True  # a number of nine bytes or more

    steps = np.clip(-number, 1, BUCKET_COUNT + 1)
    before = np.cumsum(steps) - steps
    index = before - before[first[body]]
    odd |= (number > 0) & (index >= BUCKET_COUNT)

    suspects = np.unique(body[odd])
    kept = (number > 0) & ~np.isin(body, suspects)
    return DecodedCounts(owners[body[kept]], index[kept], number[kept]), owners[suspects].tolist()


def _decode_with_library(payload: str, number: int) -> DecodedCounts | None:
    """Decode one payload of any layout with hdrh; None if it is unreadable."""
    try:
        packed = binascii.a2b_base64(payload)
        inner = zlib.decompressobj().decompress(packed[_OUTER_HEADER.size :], 2 * _MAX_BODY_BYTES)
        if len(inner) >= 2 * _MAX_BODY_BYTES or _INNER_HEADER.unpack_from(inner)[3] > SIGNIFICANT_DIGITS + 1:
            return None  # it would fill memory or take seconds
        decoded = HdrHistogram.decode(payload)
        items = [
            (i.value_iterated_to, i.count_added_in_this_iter_step) for i in decoded.get_recorded_iterator()
        ]
    except Exception:  # noqa: BLE001  hdrh raises arbitrary exceptions
        return None
    values, counts = np.array(items, np.int64).reshape(-1, 2).T
    if (counts < 0).any() or (counts > _MAX_BUCKET_COUNT).any() or (values < 0).any():
        return None
    return DecodedCounts(np.full(len(values), number, np.int64), bucket_index(values), counts)
