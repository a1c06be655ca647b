import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.observability import rejection_counter
from chat_server.observability.rejection_counter import (
    MAX_ADDRESSES_REPORTED,
    RejectionCount,
    RejectionCounter,
)


def test_counts_are_in_descending_order() -> None:
    counts = RejectionCounter()
    for address, times in (("192.0.2.1", 2), ("192.0.2.2", 5), ("192.0.2.3", 1)):
        for _ in range(times):
            counts.record(address, "full")
    counts.record("192.0.2.3", "fast")
    assert counts.take_counts() == [
        RejectionCount("192.0.2.2", "full", 5),
        RejectionCount("192.0.2.1", "full", 2),
        RejectionCount("192.0.2.3", "full", 1),
        RejectionCount("192.0.2.3", "fast", 1),
    ]
    assert counts.take_counts() == []


def test_counts_of_many_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection_counter, "MAX_ADDRESSES_COUNTED", 100)
    counts = RejectionCounter()
    for number in range(1000):
        counts.record(f"2001:db8:0:{number:x}::/64", "fast")
        counts.record("192.0.2.1", "full")
        assert len(counts._counts) <= 100
    reported = counts.take_counts()
    assert len(reported) == MAX_ADDRESSES_REPORTED + 1
    assert reported[0] == RejectionCount("192.0.2.1", "full", 1000)
    assert reported[-1] == RejectionCount(
        None, "others", 1000 - (MAX_ADDRESSES_REPORTED - 1), 100 - MAX_ADDRESSES_REPORTED
    )
    assert counts.take_counts() == []


@given(st.lists(st.tuples(st.sampled_from([str(number) for number in range(60)]), st.sampled_from("ab"))))
def test_counts_in_any_play_miss_no_rejection(refused: list[tuple[str, str]]) -> None:
    counts = RejectionCounter()
    for address, reason in refused:
        counts.record(address, reason)
    reported = counts.take_counts()
    assert sum(one.times for one in reported) == len(refused)
    assert len(reported) <= MAX_ADDRESSES_REPORTED + 1
