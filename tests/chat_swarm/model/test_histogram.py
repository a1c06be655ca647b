"""The histogram equals hdrh's: same indices, counts and percentiles; packing and merging are exact."""

import random

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.histogram import HIGHEST_US, LOWEST_US, SIGNIFICANT_DIGITS, Histogram, index_of

VALUES = st.one_of(
    st.integers(0, HIGHEST_US),
    st.integers(0, 29).flatmap(lambda bits: st.integers(max(0, (1 << bits) - 2), (1 << bits) + 2)),
)
SAMPLES = st.lists(VALUES, min_size=1, max_size=200)
PERCENTS = [0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0]


def recorded(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(values, dtype=np.int64))
    return histogram


def same(one: Histogram, other: Histogram) -> bool:
    return (
        bool((one.counts == other.counts).all())
        and (one.count, one.value_sum, one.smallest, one.largest)
        == (other.count, other.value_sum, other.smallest, other.largest)
        and one.quantiles() == other.quantiles()
    )


@given(SAMPLES)
def test_index_of_equals_hdrs(values: list[int]) -> None:
    hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    assert index_of(np.array(values)).tolist() == [hdr._counts_index_for(value) for value in values]


@given(SAMPLES)
def test_record_counts_and_extremes_equal_hdrs(values: list[int]) -> None:
    ours, hdr = recorded(values), HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for value in values:
        hdr.record_value(value)
    assert ours.counts.tolist() == list(hdr.counts)
    assert (ours.count, ours.largest) == (hdr.get_total_count(), max(values))
    assert ours.quantiles().mean == pytest.approx(sum(values) / len(values))


@given(SAMPLES, st.sampled_from(PERCENTS))
def test_percentile_is_a_sample_to_three_digits(values: list[int], percent: float) -> None:
    # HdrHistogram's definition: the value that this share of all values does not exceed
    rank = max(1, -(-len(values) * round(percent * 100) // 10_000))
    exact = sorted(values)[rank - 1]
    found = recorded(values).percentile(percent)
    assert exact <= found <= exact + exact // 1000


@given(SAMPLES)
def test_percentile_at_whole_ranks_equals_hdrs(values: list[int]) -> None:
    hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for value in values:
        hdr.record_value(value)
    ours = recorded(values)
    for rank in range(1, len(values) + 1):
        percent = 100 * rank / len(values)
        # hdrh may return a bucket's top above the highest sample; ours never does.
        assert ours.percentile(percent) == min(hdr.get_value_at_percentile(percent), max(values))


@given(SAMPLES, SAMPLES)
def test_add_counts_both(one: list[int], other: list[int]) -> None:
    together = recorded(one)
    together.add(recorded(other))
    assert same(together, recorded([*one, *other]))
    nothing = Histogram()
    nothing.add(recorded(one))
    nothing.add(Histogram())
    assert same(nothing, recorded(one))


@given(st.lists(VALUES, max_size=100))
def test_unpack_restores_what_was_packed(values: list[int]) -> None:
    histogram = recorded(values)
    assert same(Histogram.unpack(histogram.pack()), histogram)


@given(st.binary(max_size=80))
def test_unpack_any_bytes_is_consistent_or_refused(payload: bytes) -> None:
    try:
        histogram = Histogram.unpack(payload)
    except ValueError:
        return
    assert histogram.count == histogram.counts.sum()


@pytest.mark.parametrize("payload", [b"", b"12345678" * 4, b"x" * 25, (1 << 40).to_bytes(8, "little") * 5])
def test_unpack_malformed_bytes_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  numpy has its own messages
        Histogram.unpack(payload)


@given(SAMPLES)
def test_encode_is_read_by_hdrhistogram(values: list[int]) -> None:
    ours = recorded(values)
    hdr = HdrHistogram.decode(ours.encode())
    assert list(hdr.counts) == ours.counts.tolist()
    back = Histogram.decode(ours.encode())
    assert (back.counts == ours.counts).all()
    for percent in PERCENTS:
        assert back.percentile(percent) == pytest.approx(ours.percentile(percent), rel=0.001)


def test_decode_malformed_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="not an encoded histogram"):
        Histogram.decode(b"HISTFAAAA")


def test_record_out_of_range_counts_at_the_bounds() -> None:
    histogram = recorded([-5, HIGHEST_US + 1])
    assert histogram.percentiles([50, 100]) == [0, HIGHEST_US]
    assert histogram.count == 2


def test_empty_histogram_has_zero_percentiles() -> None:
    histogram = Histogram()
    histogram.record(np.array([], dtype=np.int64))
    assert histogram.percentiles([50, 99]) == [0, 0]
    assert histogram.quantiles().count == 0
    assert histogram.buckets() == []


def test_buckets_are_the_samples_to_three_digits() -> None:
    source = random.Random(1)
    values = sorted(source.randrange(1 << source.randrange(1, 29)) for _ in range(500))
    spread = [value for value, count in recorded(values).buckets() for _ in range(count)]
    assert spread == pytest.approx(values, rel=0.001)
