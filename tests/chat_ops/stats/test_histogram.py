"""Merged histograms are as exact as hdrh's, and unreadable payloads do no harm."""

import base64
import math
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat_ops.stats import hdr_codec
from chat_ops.stats.hdr_codec import HIGHEST_US
from chat_ops.stats.histogram import SparseHistogram
from chat_server.core.base.interval_stats import microseconds
from chat_server.observability.log_reporter import encode_histogram

durations = st.lists(st.integers(1, HIGHEST_US) | st.integers(1, 5000), min_size=1, max_size=40)
parts = st.lists(durations, min_size=1, max_size=6)


def encoded(values: list[int]) -> str:
    """As the server encodes them, without its rounding of the tally."""
    tally: dict[int, int] = {}
    for value in values:
        tally[value] = tally.get(value, 0) + 1
    payload = encode_histogram(tally)
    assert payload is not None
    return payload


@settings(max_examples=60)
@given(parts)
def test_percentiles_of_the_sum_are_those_of_the_raw_values(values: list[list[int]]) -> None:
    merged = SparseHistogram.merge(encoded(some) for some in values)
    raw = sorted(value for some in values for value in some)
    assert merged.count == len(raw)
    assert merged.broken == 0
    for percent in (0, 1, 50, 90, 99, 99.9, 100):
        exact = raw[min(max(math.floor(percent / 100 * len(raw) + 0.5), 1), len(raw)) - 1]
        found = merged.percentile(percent)
        assert found is not None
        assert exact <= found <= exact * 1.001 + 1
    assert merged.max == merged.percentile(100)


@settings(max_examples=10)  # hdrh takes its time
@given(parts)
def test_histogram_merge_equals_hdrh(values: list[list[int]]) -> None:
    reference = HdrHistogram(1, HIGHEST_US, 3)
    for some in values:
        reference.decode_and_add(encoded(some))
    highest, counts = SparseHistogram.merge(encoded(some) for some in values).buckets()
    recorded = [
        (i.value_iterated_to, i.count_added_in_this_iter_step) for i in reference.get_recorded_iterator()
    ]
    assert list(zip(highest, counts, strict=True)) == recorded


@given(st.floats(0.0000005, 4000))
def test_what_the_server_rounds_stays_within_a_hundredth(seconds: float) -> None:
    """Its tallies have three significant digits: 1 % at most, and the histogram adds 0.1 %."""
    found = SparseHistogram.merge([encode_histogram({microseconds(seconds): 1})]).percentile(50)
    assert found is not None
    assert found == pytest.approx(min(seconds * 1e6, HIGHEST_US), rel=0.0115, abs=1)


@settings(max_examples=15)  # as above, to encode
@given(st.dictionaries(st.sampled_from("abc"), parts))
def test_groups_are_merged_each_for_itself(groups: dict[str, list[list[int]]]) -> None:
    pairs = [(key, encoded(some)) for key, values in groups.items() for some in values]
    merged = SparseHistogram.merge_groups(reversed(pairs))
    for key, values in groups.items():
        alone = SparseHistogram.merge(encoded(some) for some in values)
        assert [list(one) for one in merged[key].buckets()] == [list(one) for one in alone.buckets()]
    total = SparseHistogram.total(merged.values())
    assert total.count == sum(len(some) for values in groups.values() for some in values)


@given(durations, st.integers(0, 10_000), st.integers(0, 255))
@example([1, 2], 0, 0)
def test_a_broken_payload_counts_for_nothing(values: list[int], place: int, byte: int) -> None:
    whole = encoded(values)
    place %= len(whole)
    damaged = whole[:place] + chr(byte) + whole[place + 1 :]
    merged = SparseHistogram.merge([whole, damaged, whole[:place], "", None, whole])
    extra = merged.count - 2 * len(values)
    assert (merged.broken, extra) in {(2 - (place == 0), 0), (1 - (place == 0), len(values))} or extra >= 0
    assert merged.count >= 2 * len(values)


def crafted(numbers: list[int], *, raw: bytes = b"") -> str:
    """A payload of the server's layout with these counts, negative ones for so many empty buckets."""
    body = bytearray()
    for number in numbers:
        left = (number << 1) ^ (number >> 63)
        while left > 0x7F:
            body.append(left & 0x7F | 0x80)
            left >>= 7
        body.append(left)
    body += raw
    inner = struct.pack(">iiiiqqd", 0x1C849313, len(body), 0, 3, 1, HIGHEST_US, 1.0) + body
    packed = zlib.compress(inner)
    return base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()


def test_the_crafted_ones_are_read() -> None:
    merged = SparseHistogram.merge([crafted([-5, 2, -1, 3])])
    assert [list(one) for one in merged.buckets()] == [[5, 7], [2, 3]]


@pytest.mark.parametrize(
    "payload",
    [
        crafted([-(hdr_codec.BUCKET_COUNT + 5), 1]),
        crafted([1, -(2**40), 1]),
        crafted([2**55]),
        crafted([1], raw=b"\xff" * 9),
        crafted([1], raw=b"\xff" * 20 + b"\x01"),
        crafted([1], raw=b"\x80"),
        crafted([0] * (hdr_codec.BUCKET_COUNT * 12)),
    ],
)
def test_decode_payloads_invalid_numbers_affect_one_payload_only(payload: str) -> None:
    """They count for nothing, or as hdrh reads them; the neighbours stay as they are."""
    alone = SparseHistogram.merge([payload])
    merged = SparseHistogram.merge([encoded([5]), payload, encoded([7])])
    assert merged.broken == alone.broken
    groups = SparseHistogram.merge_groups([("a", payload), ("b", encoded([5]))])
    assert [list(one) for one in groups["b"].buckets()] == [[5], [1]]
    assert merged.count == 2 + alone.count
    assert alone.count <= hdr_codec._MAX_BUCKET_COUNT
    assert all(
        0 <= value <= hdr_codec.bucket_highest_us(np.array([hdr_codec.BUCKET_COUNT - 1]))[0]
        for value in alone.buckets()[0]
    )


def test_decode_payloads_random_text_counts_as_unreadable() -> None:
    merged = SparseHistogram.merge(["no", "aGVsbG8=", encoded([5]), "\x00", "HISTFAAAAJ14"])
    assert merged.broken == 4
    assert merged.percentile(50) == 5


@pytest.mark.parametrize(
    ("lowest", "highest", "digits"), [(1, 10_000_000, 2), (1, 2**40, 4), (1000, 2**32, 3)]
)
def test_another_layout_is_converted(lowest: int, highest: int, digits: int) -> None:
    other = HdrHistogram(lowest, highest, digits)
    for value in (2_000, 30_000, 400_000):
        other.record_value(value)
    merged = SparseHistogram.merge([other.encode().decode(), encoded([1])])
    assert merged.count == 4
    assert merged.percentile(100) == pytest.approx(400_000, rel=0.02)


def test_empty_histogram_has_no_percentile() -> None:
    empty = SparseHistogram.merge([None])
    assert (empty.count, empty.percentile(99), empty.max) == (0, None, None)
    assert SparseHistogram.total([]).count == 0


@given(st.integers(0, HIGHEST_US))
def test_a_value_is_in_its_bucket(value: int) -> None:
    bucket = hdr_codec.bucket_index(np.array([value]))
    assert value <= hdr_codec.bucket_highest_us(bucket)[0] <= max(value * 1.001, value)
    assert bucket[0] < hdr_codec.BUCKET_COUNT
