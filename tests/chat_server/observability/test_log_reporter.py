import gc

from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from chat_server.observability.log_reporter import HIGHEST_US, LOWEST_US, SIGNIFICANT_DIGITS, encode_histogram


@given(
    st.lists(st.dictionaries(st.integers(1, 2 * HIGHEST_US), st.integers(1, 1000), max_size=20), max_size=4)
)
def test_encode_histogram_has_its_tally_only(tallies: list[dict[int, int]]) -> None:
    for tally in tallies:
        fresh = HdrHistogram(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS)
        for value, count in tally.items():
            fresh.record_value(min(value, HIGHEST_US), count)
        assert encode_histogram(tally) == (fresh.encode().decode() if tally else None)


def test_encode_histogram_leaves_no_garbage() -> None:
    encode_histogram({1: 1})
    gc.collect()
    for number in range(50):
        encode_histogram({number + 1: 7, 1_000_000: 1})
    assert gc.collect() < 50  # types that ctypes makes for sizes, and no histogram
