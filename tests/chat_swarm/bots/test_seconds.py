"""The second that a report is assigned to, however early or late its timer fires."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from chat_swarm.bots.bot_process import ns_to_next_second, second_covered

NS_PER_S = 1_000_000_000
EARLY_NS = 5_000_000
EPOCH_NS = 1_700_000_000 * NS_PER_S
LATENESS_NS = st.one_of(
    st.integers(1 - EARLY_NS, 3_000_000), st.integers(0, NS_PER_S // 2), st.integers(0, 7 * NS_PER_S)
)
"""Lateness of a timer: punctual, on a busy machine, or in a stopped process."""


def accounts(begun: int, late: list[int]) -> list[tuple[int, int]]:
    """Return (start, end) of consecutive reports from `begun` on, given the lateness of their timers."""
    times_ns = [begun]
    for lateness in late:
        times_ns.append(max(times_ns[-1], times_ns[-1] + ns_to_next_second(times_ns[-1]) + lateness))
    return list(pairwise(times_ns))


@given(st.integers(EPOCH_NS, EPOCH_NS + NS_PER_S), st.lists(LATENESS_NS, min_size=1))
@example(EPOCH_NS + 990_000_000, [55_000_000, 0])  # a short first report that is late
@example(EPOCH_NS + 100, [-1_000, 0])  # one that is early
def test_second_covered_is_unique_for_each_report(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == sorted(set(seconds))


@given(
    st.integers(EPOCH_NS, EPOCH_NS + NS_PER_S),
    st.lists(st.integers(1 - EARLY_NS, NS_PER_S - EARLY_NS - 1), min_size=1),
)
def test_second_covered_is_contiguous_if_no_timer_is_a_second_late(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


@given(st.integers(EPOCH_NS, EPOCH_NS + NS_PER_S), st.integers(0, 10 * NS_PER_S))
def test_second_covered_overlaps_the_report(begun: int, lasts: int) -> None:
    second = second_covered(begun, begun + lasts)
    assert begun - NS_PER_S < second * NS_PER_S <= begun + lasts + EARLY_NS
