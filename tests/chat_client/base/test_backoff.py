from hypothesis import given
from hypothesis import strategies as st

from chat_client.base.backoff import Backoff


def test_backoff_waits_grow_to_the_maximum_and_restart_after_reset() -> None:
    backoff = Backoff(1, 10, random_fraction=lambda: 1.0)
    assert [backoff.next_wait() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.next_wait() == 1


def test_backoff_jitter_is_half_of_the_wait() -> None:
    assert Backoff(1, 10, random_fraction=lambda: 0.0).next_wait() == 0.5


@given(st.floats(0, 1), st.floats(0, 100), st.integers(0, 100))
def test_backoff_waits_at_least_as_long_as_requested(chance: float, after: float, tries: int) -> None:
    backoff = Backoff(random_fraction=lambda: chance)
    for _ in range(tries):
        backoff.next_wait()
    assert after <= backoff.next_wait(after) <= after + 30 or after < 30
