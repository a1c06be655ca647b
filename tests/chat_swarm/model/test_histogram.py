"""The histogram is HDR's: the same places, the same counts, three digits, and nothing lost on the way."""

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
def test_each_value_is_where_hdr_puts_it(values: list[int]) -> None:
    hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    assert index_of(np.array(values)).tolist() == [hdr._counts_index_for(value) for value in values]


@given(SAMPLES)
def test_counts_and_extremes_are_hdrs(values: list[int]) -> None:
    ours, hdr = recorded(values), HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for value in values:
        hdr.record_value(value)
    assert ours.counts.tolist() == list(hdr.counts)
    assert (ours.count, ours.largest) == (hdr.get_total_count(), max(values))
    assert ours.quantiles().mean == pytest.approx(sum(values) / len(values))


@given(SAMPLES, st.sampled_from(PERCENTS))
def test_a_percentile_is_a_sample_to_three_digits(values: list[int], percent: float) -> None:
    # As HdrHistogram defines it: the value that so many of all do not exceed
    rank = max(1, -(-len(values) * round(percent * 100) // 10_000))
    exact = sorted(values)[rank - 1]
    found = recorded(values).percentile(percent)
    assert exact <= found <= exact + exact // 1000


@given(SAMPLES)
def test_percentiles_where_ranks_are_whole_are_hdrs(values: list[int]) -> None:
    hdr = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
    for value in values:
        hdr.record_value(value)
    ours = recorded(values)
    for rank in range(1, len(values) + 1):
        percent = 100 * rank / len(values)
        # hdrh's may be the bucket's top where it is above the highest sample: ours never is.
        assert ours.percentile(percent) == min(hdr.get_value_at_percentile(percent), max(values))


@given(SAMPLES, SAMPLES)
def test_added_are_both(one: list[int], other: list[int]) -> None:
    together = recorded(one)
    together.add(recorded(other))
    assert same(together, recorded([*one, *other]))
    nothing = Histogram()
    nothing.add(recorded(one))
    nothing.add(Histogram())
    assert same(nothing, recorded(one))


@given(st.lists(VALUES, max_size=100))
def test_packed_and_unpacked_is_the_same(values: list[int]) -> None:
    histogram = recorded(values)
    assert same(Histogram.unpack(histogram.pack()), histogram)


@given(st.binary(max_size=80))
def test_what_is_no_histogram_is_refused_or_is_one(payload: bytes) -> None:
    try:
        histogram = Histogram.unpack(payload)
    except ValueError:
        return
    assert histogram.count == histogram.counts.sum()


@pytest.mark.parametrize("payload", [b"", b"12345678" * 4, b"x" * 25, (1 << 40).to_bytes(8, "little") * 5])
def test_what_cannot_be_unpacked(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  numpy has sentences of its own
        Histogram.unpack(payload)


@given(SAMPLES)
def test_any_hdr_library_reads_what_is_encoded(values: list[int]) -> None:
    ours = recorded(values)
    hdr = HdrHistogram.decode(ours.encode())
    assert list(hdr.counts) == ours.counts.tolist()
    back = Histogram.decode(ours.encode())
    assert (back.counts == ours.counts).all()
    for percent in PERCENTS:
        assert back.percentile(percent) == pytest.approx(ours.percentile(percent), rel=0.001)


def test_what_is_not_encoded_is_refused() -> None:
    with pytest.raises(ValueError, match="not an encoded histogram"):
        Histogram.decode(b"HISTFAAAA")


def test_what_is_out_of_range_counts_at_its_end() -> None:
    histogram = recorded([-5, HIGHEST_US + 1])
    assert histogram.percentiles([50, 100]) == [0, HIGHEST_US]
    assert histogram.count == 2


def test_nothing_is_nothing() -> None:
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
