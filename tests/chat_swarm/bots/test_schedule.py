"""Send schedules: send times are absolute, spread over the period, and never skipped."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.bots.schedule import BURST_SENDS, NS_PER_S, Schedule, period_of, phase_of

times = st.integers(0, 2**62)
periods = st.integers(1, 3_600 * NS_PER_S)
phases = st.integers(0, 2**64 - 1)


@given(times, periods, st.integers(0, 2_000))
def test_advance_moves_by_exactly_one_period(start: int, period: int, sends: int) -> None:
    schedule = Schedule(start, period)
    for _ in range(sends):
        schedule.advance()
    assert schedule.next_ns == start + sends * period


def test_advance_for_hours_does_not_drift() -> None:
    period = period_of(3.0)
    schedule = Schedule(7, period)
    for _ in range(3 * 3_600 * 4):
        schedule.advance()
    assert schedule.next_ns == 7 + 3 * 3_600 * 4 * period


@given(times, periods, phases)
def test_first_send_time_is_within_the_first_period(start: int, period: int, phase: int) -> None:
    assert start <= Schedule(start, period, phase).next_ns < start + period


@given(st.integers(0, 1_000_000), st.integers(1, 2_000))
def test_phases_leave_no_gap_larger_than_three_shares(first: int, bots: int) -> None:
    taken = sorted(phase_of(first + number) for number in range(bots))
    gaps = [later - earlier for earlier, later in zip(taken, [*taken[1:], taken[0] + 2**64], strict=True)]
    assert max(gaps) * bots <= 3 * 2**64


def test_pop_due_returns_a_backlog_in_bursts_with_planned_times() -> None:
    # Given a schedule with a send time every 10 ns, unused for 20 of them
    schedule = Schedule(0, 10)
    # When due send times are taken repeatedly at time 195
    turns = [schedule.pop_due(195) for _ in range(4)]
    sent = [time_ns for turn in turns for time_ns in turn]
    # Then all of them are returned, in order, never more than a burst at once
    assert [len(turn) for turn in turns] == [BURST_SENDS, BURST_SENDS, 20 - 2 * BURST_SENDS, 0]
    assert sent == list(range(0, 200, 10))
    assert schedule.next_ns == 200


@given(times, periods, phases, st.lists(st.integers(0, 5 * NS_PER_S), max_size=30))
def test_pop_due_at_any_times_skips_no_send_time(
    start: int, period: int, phase: int, waits: list[int]
) -> None:
    schedule = Schedule(start, period, phase)
    first, now, planned = schedule.next_ns, start, []
    for wait in waits:
        now += wait
        turn = schedule.pop_due(now)
        assert len(turn) <= BURST_SENDS
        assert all(time_ns <= now for time_ns in turn)
        planned += turn
    assert planned == [first + number * period for number in range(len(planned))]


@given(st.integers(1, 500), st.integers(1_000, 10**9), st.integers(1_000, 10**9))
def test_change_period_keeps_the_phases(bots: int, old: int, new: int) -> None:
    # Given bots spread over a period, all on time
    now = 10**12
    schedules = [Schedule(now, old, phase_of(bot)) for bot in range(bots)]
    waits = [schedule.next_ns - now for schedule in schedules]
    # When the rate changes
    for schedule in schedules:
        schedule.change_period(now, new)
    # Then each has the same fraction of the new period left as of the old one
    for wait, schedule in zip(waits, schedules, strict=True):
        assert schedule.next_ns == now + wait * new // old
        assert schedule.period_ns == new


@given(
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 1_000)), max_size=6),
    st.integers(0, 5_000),
)
def test_change_period_keeps_the_times_of_unsent_messages(
    period: int, changes: list[tuple[int, int]], rest: int
) -> None:
    """A late bot gets exactly the send times of a punctual one."""
    late, punctual = Schedule(0, period), Schedule(0, period)
    now, planned = 0, []
    for wait, new in changes:
        now += wait
        while punctual.next_ns < now:
            planned += punctual.pop_due(punctual.next_ns)
        late.change_period(now, new)
        punctual.change_period(now, new)
    now += rest
    while punctual.next_ns <= now:
        planned += punctual.pop_due(punctual.next_ns)
    owed = []
    while turn := late.pop_due(now):
        owed += turn
    assert owed == planned
    assert late.next_ns == punctual.next_ns


def test_random_gaps_are_exponential_with_the_mean_of_the_period() -> None:
    schedule = Schedule(0, 1_000_000, gaps=random.Random(4))
    times = []
    for _ in range(20_000):
        times.append(schedule.next_ns)
        schedule.advance()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1_000_000, rel=0.05)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # as in an exponential distribution


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_period_of_an_invalid_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        period_of(rate)


def test_period_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 ns"):
        Schedule(0, 0)
    with pytest.raises(ValueError, match="at least 1 ns"):
        Schedule(0, 1).change_period(0, 0)
