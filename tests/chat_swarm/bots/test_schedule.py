"""That a bot's slots are absolute, spread, and never forgotten."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.bots.schedule import BURST_SLOTS, NS_PER_S, Schedule, period_of, phase_of

moments = st.integers(0, 2**62)
periods = st.integers(1, 3_600 * NS_PER_S)
phases = st.integers(0, 2**64 - 1)


@given(moments, periods, st.integers(0, 2_000))
def test_after_n_slots_it_is_exactly_n_periods_on(start: int, period: int, slots: int) -> None:
    schedule = Schedule(start, period)
    for _ in range(slots):
        schedule.advance()
    assert schedule.next_ns == start + slots * period


def test_hours_at_an_odd_rate_drift_by_nothing() -> None:
    period = period_of(3.0)
    schedule = Schedule(7, period)
    for _ in range(3 * 3_600 * 4):
        schedule.advance()
    assert schedule.next_ns == 7 + 3 * 3_600 * 4 * period


@given(moments, periods, phases)
def test_a_bot_begins_within_its_first_period(start: int, period: int, phase: int) -> None:
    assert start <= Schedule(start, period, phase).next_ns < start + period


@given(st.integers(0, 1_000_000), st.integers(1, 2_000))
def test_any_run_of_bots_leaves_no_gap_larger_than_three_shares(first: int, bots: int) -> None:
    taken = sorted(phase_of(first + number) for number in range(bots))
    gaps = [later - earlier for earlier, later in zip(taken, [*taken[1:], taken[0] + 2**64], strict=True)]
    assert max(gaps) * bots <= 3 * 2**64


def test_a_late_bot_sends_its_backlog_a_burst_at_a_turn_and_is_timed_from_what_was_planned() -> None:
    # Given a bot with a slot every 10 ns that nobody has looked at for 20 slots
    schedule = Schedule(0, 10)
    # When it gets turn after turn at moment 195
    turns = [schedule.pop_due(195) for _ in range(4)]
    sent = [moment for turn in turns for moment in turn]
    # Then it sends all of them, in order, never more than a burst at once
    assert [len(turn) for turn in turns] == [BURST_SLOTS, BURST_SLOTS, 20 - 2 * BURST_SLOTS, 0]
    assert sent == list(range(0, 200, 10))
    assert schedule.next_ns == 200


@given(moments, periods, phases, st.lists(st.integers(0, 5 * NS_PER_S), max_size=30))
def test_whenever_its_turns_come_no_slot_is_forgotten(
    start: int, period: int, phase: int, waits: list[int]
) -> None:
    schedule = Schedule(start, period, phase)
    first, now, planned = schedule.next_ns, start, []
    for wait in waits:
        now += wait
        turn = schedule.pop_due(now)
        assert len(turn) <= BURST_SLOTS
        assert all(moment <= now for moment in turn)
        planned += turn
    assert planned == [first + slot * period for slot in range(len(planned))]


@given(st.integers(1, 500), st.integers(1_000, 10**9), st.integers(1_000, 10**9))
def test_a_new_rate_keeps_the_bots_spread(bots: int, old: int, new: int) -> None:
    # Given bots that are spread over a period, all on time
    now = 10**12
    schedules = [Schedule(now, old, phase_of(bot)) for bot in range(bots)]
    waits = [schedule.next_ns - now for schedule in schedules]
    # When the rate changes
    for schedule in schedules:
        schedule.change_period(now, new)
    # Then each has the same part of the new period before it as it had of the old one
    for wait, schedule in zip(waits, schedules, strict=True):
        assert schedule.next_ns == now + wait * new // old
        assert schedule.period_ns == new


@given(
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 1_000)), max_size=6),
    st.integers(0, 5_000),
)
def test_what_is_owed_at_a_new_rate_is_what_the_old_rate_planned(
    period: int, changes: list[tuple[int, int]], rest: int
) -> None:
    """A bot that looks only at the end has the very slots of a bot that was never late."""
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


def test_random_gaps_have_the_mean_of_the_period_whenever_it_is_asked() -> None:
    schedule = Schedule(0, 1_000_000, gaps=random.Random(4))
    moments = []
    for _ in range(20_000):
        moments.append(schedule.next_ns)
        schedule.advance()
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1_000_000, rel=0.05)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # as an exponential distribution has it


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        period_of(rate)


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 ns"):
        Schedule(0, 0)
    with pytest.raises(ValueError, match="at least 1 ns"):
        Schedule(0, 1).change_period(0, 0)
