import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ops.stats.outliers import RateBaseline, TimeSpan, join_spans, rate_baseline


def counted(values: list[float]) -> dict[float, int]:
    return {value: values.count(value) for value in values}


@given(st.lists(st.integers(0, 50).map(float), min_size=1, max_size=60))
@settings(deadline=None)
def test_rate_baseline_is_median_and_mad(values: list[float]) -> None:
    found = rate_baseline(counted(values))
    median = statistics.median(values)
    assert found.median == median
    assert abs(found.deviation - 1.4826 * statistics.median(abs(value - median) for value in values)) < 1e-9


@given(st.lists(st.integers(1, 9).map(float), max_size=20), st.integers(0, 30))
@settings(deadline=None)
def test_rate_baseline_unlisted_seconds_count_as_zero(values: list[float], quiet: int) -> None:
    assert rate_baseline(counted(values), len(values) + quiet) == rate_baseline(
        counted(values + [0.0] * quiet)
    )


def test_rate_baseline_is_not_moved_by_a_storm() -> None:
    # An hour at 2 or 3 a second, and three minutes at 500: mean and deviation would allow about 1,000.
    found = rate_baseline({2.0: 1800, 3.0: 1620, 500.0: 180})
    assert found.threshold() < 25


def test_the_bound_is_never_below_the_floor() -> None:
    assert RateBaseline(0, 0).threshold() == 20
    assert RateBaseline(0, 0).threshold(floor=3) == 3
    assert RateBaseline(100, 10).threshold(factor=8) == 180
    assert rate_baseline({}) == RateBaseline(0, 0)


def test_join_spans_joins_near_ones() -> None:
    assert join_spans([TimeSpan(20, 21), TimeSpan(0, 1), TimeSpan(5, 6), TimeSpan(0, 3)], gap_s=5) == [
        TimeSpan(0, 6),
        TimeSpan(20, 21),
    ]
    assert join_spans([TimeSpan(0, 10), TimeSpan(2, 3), TimeSpan(15, 16)], gap_s=5) == [TimeSpan(0, 16)]
    assert join_spans([TimeSpan(0, 1), TimeSpan(6.1, 7)], gap_s=5) == [TimeSpan(0, 1), TimeSpan(6.1, 7)]
    assert join_spans([]) == []
