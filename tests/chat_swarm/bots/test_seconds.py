"""The second that a report is assigned to, however early or late its timer fires."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from chat_swarm.bots.bot_process import ns_to_next_second, second_covered

SECOND = 1_000_000_000
EARLY = 5_000_000
EPOCH = 1_700_000_000 * SECOND
RING = st.one_of(st.integers(1 - EARLY, 3_000_000), st.integers(0, SECOND // 2), st.integers(0, 7 * SECOND))
"""Lateness of a timer: punctual, on a busy machine, or in a stopped process."""


def accounts(begun: int, late: list[int]) -> list[tuple[int, int]]:
    """Return (start, end) of consecutive reports from `begun` on, given the lateness of their timers."""
    times_ns = [begun]
    for lateness in late:
        times_ns.append(max(times_ns[-1], times_ns[-1] + ns_to_next_second(times_ns[-1]) + lateness))
    return list(pairwise(times_ns))


@given(st.integers(EPOCH, EPOCH + SECOND), st.lists(RING, min_size=1))
@example(EPOCH + 990_000_000, [55_000_000, 0])  # a short first report that is late
@example(EPOCH + 100, [-1_000, 0])  # one that is early
def test_second_covered_is_unique_for_each_report(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == sorted(set(seconds))


@given(st.integers(EPOCH, EPOCH + SECOND), st.lists(st.integers(1 - EARLY, SECOND - EARLY - 1), min_size=1))
def test_second_covered_is_contiguous_if_no_timer_is_a_second_late(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


@given(st.integers(EPOCH, EPOCH + SECOND), st.integers(0, 10 * SECOND))
def test_second_covered_overlaps_the_report(begun: int, lasts: int) -> None:
    second = second_covered(begun, begun + lasts)
    assert begun - SECOND < second * SECOND <= begun + lasts + EARLY
