"""Plans depend on their seed alone, and keep to their bounds."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from chaos import plan
from chaos.actors.load import speaker_messages
from chaos.plan import Blow

SEEDS = st.text(max_size=8)


@given(SEEDS, st.integers(0, 30))
def test_a_seed_is_a_plan(seed: str, count: int) -> None:
    assert plan.plan_blows(seed, count, list(Blow)) == plan.plan_blows(seed, count, list(Blow))
    assert plan.plan_cast(seed, 12, 4, 3) == plan.plan_cast(seed, 12, 4, 3)
    assert plan.plan_connection(seed, count) == plan.plan_connection(seed, count)
    speech = [list(islice(speaker_messages(seed, ["a", "b"], ["bob"], 60), 20)) for _ in range(2)]
    assert speech[0] == speech[1]


def test_another_seed_is_another_plan() -> None:
    assert plan.plan_blows("1", 9, list(Blow)) != plan.plan_blows("2", 9, list(Blow))
    assert plan.plan_cast("1", 12, 4, 3) != plan.plan_cast("2", 12, 4, 3)
    assert [plan.plan_connection("1", n) for n in range(9)] != [
        plan.plan_connection("2", n) for n in range(9)
    ]


@given(SEEDS, st.integers(2, 40), st.integers(1, 9), st.integers(1, 5))
def test_a_cast_is_what_was_asked_for(seed: str, receivers: int, senders: int, rooms: int) -> None:
    cast = plan.plan_cast(seed, receivers, senders, rooms)
    assert len(cast.rooms) == receivers
    assert len(cast.speakers) == min(senders, receivers)
    assert all(1 <= len(where) <= min(3, rooms) for where in cast.rooms.values())
    assert all(name not in peers and set(peers) <= set(cast.rooms) for name, peers in cast.speakers.items())


@given(SEEDS)
def test_no_text_is_said_twice(seed: str) -> None:
    texts = [text for _, _, text in islice(speaker_messages(seed, ["a"], [], 60), 200)]
    assert len(set(texts)) == 200
    assert all(0 < len(text.encode()) <= 8192 for text in texts)
