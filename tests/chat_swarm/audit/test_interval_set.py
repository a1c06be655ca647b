"""An interval set behaves like a set of integers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.audit.interval_set import IntervalSet, range_text

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 8)))


@given(STEPS)
def test_interval_set_equals_a_set(steps: list[tuple[bool, int, int]]) -> None:
    ranges, plain = IntervalSet(), set[int]()
    for adds, first, size in steps:
        numbers = set(range(first, first + size + 1))
        if adds:
            ranges.add(first, first + size)
            plain |= numbers
        else:
            removed = ranges.remove(first, first + size)
            assert {n for one, other in removed for n in range(one, other + 1)} == plain & numbers
            plain -= numbers
        assert {n for one, other in ranges for n in range(one, other + 1)} == plain
        assert {n for n in range(60) if n in ranges} == plain
        assert all(first <= last for first, last in ranges)
        assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


def test_range_text_of_one_and_of_several() -> None:
    assert range_text(4, 4) == "4"
    assert range_text(4, 6) == "4 to 6"
