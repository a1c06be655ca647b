"""Which second of the wall clock an account is of, however early or late the timer rings."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from chat_swarm.bots.bot_process import ns_to_next_second, second_covered

SECOND = 1_000_000_000
EARLY = 5_000_000
EPOCH = 1_700_000_000 * SECOND
RING = st.one_of(st.integers(1 - EARLY, 3_000_000), st.integers(0, SECOND // 2), st.integers(0, 7 * SECOND))
"""How late a timer rings: about in time, as on a busy machine, or as of a process that was stopped."""


def accounts(begun: int, late: list[int]) -> list[tuple[int, int]]:
    """Return (from, to) of what an engine hands on, which begins then and whose timers ring so late."""
    moments = [begun]
    for lateness in late:
        moments.append(max(moments[-1], moments[-1] + ns_to_next_second(moments[-1]) + lateness))
    return list(pairwise(moments))


@given(st.integers(EPOCH, EPOCH + SECOND), st.lists(RING, min_size=1))
@example(EPOCH + 990_000_000, [55_000_000, 0])  # a short first account that is handed on late
@example(EPOCH + 100, [-1_000, 0])  # one that is handed on early
def test_each_account_is_of_a_second_of_its_own(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == sorted(set(seconds))


@given(st.integers(EPOCH, EPOCH + SECOND), st.lists(st.integers(1 - EARLY, SECOND - EARLY - 1), min_size=1))
def test_there_is_an_account_of_each_second_if_no_timer_is_a_second_late(begun: int, late: list[int]) -> None:
    seconds = [second_covered(*account) for account in accounts(begun, late)]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


@given(st.integers(EPOCH, EPOCH + SECOND), st.integers(0, 10 * SECOND))
def test_an_account_is_of_a_second_that_it_holds_a_part_of(begun: int, lasts: int) -> None:
    second = second_covered(begun, begun + lasts)
    assert begun - SECOND < second * SECOND <= begun + lasts + EARLY
