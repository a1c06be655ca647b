from hypothesis import given, settings
from hypothesis import strategies as st

from chat_server.core.base.interval_stats import BUSIEST_ROOMS, IntervalStats, microseconds


@settings(deadline=None, max_examples=300)
@given(seconds=st.floats(0, 3600))
def test_microseconds_have_three_significant_digits(seconds: float) -> None:
    exact = seconds * 1_000_000
    kept = microseconds(seconds)
    assert kept >= 1
    assert kept == 1 or kept <= exact
    assert exact - kept <= max(1, exact / 100)


def test_microseconds_have_few_distinct_values() -> None:
    values = {microseconds(number / 1_000_000) for number in range(1, 1_000_000, 7)}
    assert len(values) < 3_000


def test_microseconds_of_zero_or_less_are_one() -> None:
    assert microseconds(0) == microseconds(-1) == 1


def test_stats_keep_tallies_of_the_busiest_rooms() -> None:
    stats = IntervalStats(["was busy"])
    assert stats.rooms["was busy"].accept_to_commit == {}
    for number in range(BUSIEST_ROOMS + 5):
        own = stats.room_stats(f"r{number}")
        own.messages, own.deliveries = 1, number
    assert stats.room_stats("r0") is stats.rooms["r0"]
    assert sum(room.accept_to_commit is not None for room in stats.rooms.values()) == BUSIEST_ROOMS
    assert [name for name, _ in stats.busiest_rooms()] == [f"r{number}" for number in range(14, 4, -1)]
