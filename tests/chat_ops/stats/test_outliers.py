import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ops.stats.outliers import Span, Usual, joined, usual


def counted(values: list[float]) -> dict[float, int]:
    return {value: values.count(value) for value in values}


@given(st.lists(st.integers(0, 50).map(float), min_size=1, max_size=60))
@settings(deadline=None)
def test_the_usual_is_the_median_and_the_median_deviation(values: list[float]) -> None:
    found = usual(counted(values))
    median = statistics.median(values)
    assert found.median == median
    assert abs(found.deviation - 1.4826 * statistics.median(abs(value - median) for value in values)) < 1e-9


@given(st.lists(st.integers(1, 9).map(float), max_size=20), st.integers(0, 30))
@settings(deadline=None)
def test_seconds_that_are_not_told_were_quiet(values: list[float], quiet: int) -> None:
    assert usual(counted(values), len(values) + quiet) == usual(counted(values + [0.0] * quiet))


def test_a_storm_does_not_hide_itself() -> None:
    # An hour at 2 or 3 a second, and three minutes at 500: mean and deviation would allow about 1,000.
    found = usual({2.0: 1800, 3.0: 1620, 500.0: 180})
    assert found.bound() < 25


def test_the_bound_is_never_below_the_floor() -> None:
    assert Usual(0, 0).bound() == 20
    assert Usual(0, 0).bound(floor=3) == 3
    assert Usual(100, 10).bound(factor=8) == 180
    assert usual({}) == Usual(0, 0)


def test_spans_that_are_near_are_one() -> None:
    assert joined([Span(20, 21), Span(0, 1), Span(5, 6), Span(0, 3)], within=5) == [Span(0, 6), Span(20, 21)]
    assert joined([Span(0, 10), Span(2, 3), Span(15, 16)], within=5) == [Span(0, 16)]
    assert joined([Span(0, 1), Span(6.1, 7)], within=5) == [Span(0, 1), Span(6.1, 7)]
    assert joined([]) == []
