import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chat_client.base.pacing import Pacer
from chat_protocol.events import Limits

NO_LIMITS = Limits(65536, 8192, 0, 0, 0, 0, 0, 0)


def test_pacer_without_limits_never_waits() -> None:
    pacer = Pacer(NO_LIMITS, clock=lambda: 0.0)
    assert {pacer.next_wait(8192) for _ in range(10_000)} == {0.0}


def test_pacer_allows_a_burst_then_the_rate() -> None:
    now = 0.0
    pacer = Pacer(
        msgspec.structs.replace(NO_LIMITS, messages_per_second=10, message_burst=100), clock=lambda: now
    )
    waits = []
    for _ in range(200):
        waits.append(pacer.next_wait(1))
        now += waits[-1]
    assert waits[:80] == [0.0] * 80
    assert all(0.1 < wait < 0.12 for wait in waits[80:])


def test_pacer_limits_bytes() -> None:
    pacer = Pacer(
        msgspec.structs.replace(NO_LIMITS, bytes_per_second=1000, byte_burst=10_000), clock=lambda: 0.0
    )
    assert pacer.next_wait(5000) == 0
    assert pacer.next_wait(5000) > 2


@given(st.lists(st.integers(1, 8192), max_size=50), st.floats(1, 1000), st.integers(1, 100))
def test_pacer_keeps_below_the_limits_of_the_server(sizes: list[int], rate: float, burst: int) -> None:
    now = 0.0
    tokens, at = float(max(burst, 1)), 0.0
    pacer = Pacer(
        msgspec.structs.replace(NO_LIMITS, messages_per_second=rate, message_burst=burst), clock=lambda: now
    )
    for size in sizes:
        now += pacer.next_wait(size)
        tokens = min(float(burst), tokens + (now - at) * rate) - 1
        at = now
        assert tokens > -1e-6
