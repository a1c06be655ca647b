import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.observability import rejection_counter
from chat_server.observability.rejection_counter import MAX_TOLD, Refusals, Refused


def test_those_turned_away_most_come_first() -> None:
    counts = Refusals()
    for address, times in (("192.0.2.1", 2), ("192.0.2.2", 5), ("192.0.2.3", 1)):
        for _ in range(times):
            counts.add(address, "full")
    counts.add("192.0.2.3", "fast")
    assert counts.take() == [
        Refused("192.0.2.2", "full", 5),
        Refused("192.0.2.1", "full", 2),
        Refused("192.0.2.3", "full", 1),
        Refused("192.0.2.3", "fast", 1),
    ]
    assert counts.take() == []


def test_an_attacker_of_many_addresses_gets_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection_counter, "MAX_COUNTED", 100)
    counts = Refusals()
    for number in range(1000):
        counts.add(f"2001:db8:0:{number:x}::/64", "fast")
        counts.add("192.0.2.1", "full")
        assert len(counts._counts) <= 100
    told = counts.take()
    assert len(told) == MAX_TOLD + 1
    assert told[0] == Refused("192.0.2.1", "full", 1000)
    assert told[-1] == Refused(None, "others", 1000 - (MAX_TOLD - 1), 100 - MAX_TOLD)
    assert counts.take() == []


@given(st.lists(st.tuples(st.sampled_from([str(number) for number in range(60)]), st.sampled_from("ab"))))
def test_nobody_is_lost(refused: list[tuple[str, str]]) -> None:
    counts = Refusals()
    for address, reason in refused:
        counts.add(address, reason)
    told = counts.take()
    assert sum(one.times for one in told) == len(refused)
    assert len(told) <= MAX_TOLD + 1
