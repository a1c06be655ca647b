"""Limits per address: every rule of net/address_limits.py, with a manual clock."""

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_server.net import address_limits
from chat_server.net.address_limits import (
    MAX_HELLO_DELAY_S,
    MAX_RETRY_AFTER_S,
    AddressLimits,
    AddressLimitSettings,
    Rejection,
    address_key,
)

PEER = "192.0.2.7"


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now + 1.7e9


@pytest.fixture
def clock() -> Clock:
    return Clock()


def with_limits(clock: Clock, **limits: Any) -> AddressLimits:
    off: dict[str, Any] = {"connections": 0, "rate_connections": 0, "rate_failed_hellos": 0}
    return AddressLimits(AddressLimitSettings(**off | limits), clock)


# Keys of addresses


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("::2", "::/64"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_address_key_of_host(host: str, expected: str) -> None:
    assert address_key(host) == expected


@settings(deadline=None, max_examples=50)
@given(prefix=st.integers(2**61, 2**63), one=st.integers(0, 2**64 - 1), other=st.integers(0, 2**64 - 1))
def test_address_key_ignores_last_64_bits(prefix: int, one: int, other: int) -> None:
    hosts = [str(IPv6Address(prefix << 64 | low)) for low in (one, other)]
    assert address_key(hosts[0]) == address_key(hosts[1])
    assert address_key(hosts[0]) != address_key(str(IPv6Address(prefix + 1 << 64 | one)))


# Connections


def test_admit_beyond_maximum_is_rejected(clock: Clock) -> None:
    # Given an address with its maximum of connections, in two notations
    table = with_limits(clock, connections=2)
    assert [table.admit(host) for host in (PEER, f"::ffff:{PEER}")] == [None, None]

    # Then further ones are rejected, others are not, and a closed one frees its slot
    rejection = table.admit(PEER)
    assert rejection is not None
    assert PEER in rejection.message
    assert rejection.retry_after_s > 0
    assert table.admit("192.0.2.8") is None
    table.release(PEER, "connection")
    assert table.admit(PEER) is None


def test_admit_beyond_rate_is_rejected_with_staggered_times(clock: Clock) -> None:
    # Given an address that has used up its burst
    table = with_limits(clock, rate_connections=10, rate_connections_burst=3)
    assert [table.admit(PEER) for _ in range(3)] == [None] * 3

    # When more come, then each gets a different time, and other addresses are admitted
    rejections = [table.admit(PEER) for _ in range(3)]
    assert [rejection.retry_after_s for rejection in rejections if rejection] == pytest.approx(
        [0.1, 0.2, 0.3], abs=0.011
    )
    assert table.admit("192.0.2.8") is None

    # And those that come back in time are admitted
    start = clock.now
    for rejection in rejections:
        assert rejection
        clock.now = start + rejection.retry_after_s
        assert table.admit(PEER) is None


@settings(deadline=None, max_examples=50)
@given(
    rate=st.floats(0.5, 500),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=150),
)
def test_admit_never_exceeds_burst_and_rate(rate: float, burst: int, gaps: list[float]) -> None:
    clock = Clock()
    table = with_limits(clock, rate_connections=rate, rate_connections_burst=burst)
    start, let_in = clock.now, 0
    for gap in gaps:
        clock.now += gap
        rejection = table.admit(PEER)
        let_in += rejection is None
        assert rejection is None or 0 < rejection.retry_after_s <= MAX_RETRY_AFTER_S
        assert let_in <= burst + rate * (clock.now - start) + 0.001


def test_admit_in_a_storm_bounds_retry_after(clock: Clock) -> None:
    table = with_limits(clock, rate_connections=1, rate_connections_burst=1)
    waits = [rejection.retry_after_s for _ in range(1000) if (rejection := table.admit(PEER))]
    assert max(waits) == MAX_RETRY_AFTER_S


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("limited", [False, True])
def test_loopback_is_exempt_unless_limited(clock: Clock, host: str, *, limited: bool) -> None:
    table = with_limits(
        clock,
        connections=5,
        rate_connections=1,
        rate_connections_burst=1,
        rate_failed_hellos=1,
        rate_failed_hellos_burst=1,
        limit_loopback=limited,
    )
    assert table.admit(host) is None
    assert isinstance(table.admit(host), Rejection) is limited
    table.record_failed_hello(host)
    assert (table.hello_delay(host, "other") > 0) is limited


def test_limits_of_zero_reject_nothing(clock: Clock) -> None:
    table = with_limits(clock)
    for number in range(100):
        assert table.admit(PEER) is None
        table.record_failed_hello(PEER)
        assert table.hello_delay(PEER, number) == 0
    assert table.tracked_counts() == (0, 0)


def test_changed_limits_apply_at_once(clock: Clock) -> None:
    table = with_limits(clock)
    table.admit(PEER)
    table.limits = AddressLimitSettings(connections=1)
    assert isinstance(table.admit(PEER), Rejection)
    table.release(PEER, "connection")
    assert table.admit(PEER) is None


# Hellos


def failing(table: AddressLimits, connection: str, times: int = 1) -> list[float]:
    """Send failing hellos; return the delay of each, 0 if it was accepted."""
    waits = []
    for _ in range(times):
        waits.append(table.hello_delay(PEER, connection))
        if not waits[-1]:
            table.record_failed_hello(PEER)
    return waits


def test_hello_delay_counts_failed_hellos_only(clock: Clock) -> None:
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=2)
    assert [table.hello_delay(PEER, "good") for _ in range(100)] == [0] * 100
    assert failing(table, "eve", 3) == [0, 0, 1]


def test_delayed_hello_is_accepted_in_time_despite_others(clock: Clock) -> None:
    # Given an address that has used up its burst and goes on failing
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=2)
    failing(table, "eve", 3)

    # When another connection there sends a hello
    wait = table.hello_delay(PEER, "ann")
    assert wait == 2  # after eve

    # Then it is accepted in time, though others have taken every token
    start = clock.now
    while clock.now + 0.1 < start + wait:
        clock.now += 0.1
        failing(table, "eve")
    clock.now = start + wait
    for number in range(10):
        failing(table, f"eve{number}")
    assert table.hello_delay(PEER, "ann") == 0


def test_lifted_limits_accept_delayed_hellos(clock: Clock) -> None:
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=1)
    assert failing(table, "eve", 2) == [0, 1]
    table.limits = AddressLimitSettings(rate_failed_hellos=0)
    assert table.hello_delay(PEER, "eve") == 0


def test_unused_reservation_is_returned(clock: Clock) -> None:
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=1)
    table.admit(PEER)
    assert failing(table, "eve", 2) == [0, 1]
    table.release(PEER, "eve")
    assert table.hello_delay(PEER, "ann") == 1


def test_early_hellos_beyond_maximum_count_as_flooding(clock: Clock) -> None:
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=1)
    failing(table, "eve", 1 + address_limits.MAX_EARLY_HELLOS)
    assert not table.floods_hellos("eve")
    failing(table, "eve")
    assert table.floods_hellos("eve")
    assert not table.floods_hellos("ann")


def test_hello_delay_never_exceeds_maximum(clock: Clock) -> None:
    # Given a thousand connections of one address, all of which always fail
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=20)
    for _ in range(30):
        clock.now += MAX_HELLO_DELAY_S
        for eve in range(1000):
            failing(table, f"eve{eve}")

    # Then another one is accepted after the maximum, and without delay soon after they stop
    assert table.hello_delay(PEER, "ann") == MAX_HELLO_DELAY_S
    clock.now += 2 * MAX_HELLO_DELAY_S
    assert table.hello_delay(PEER, "ann") == table.hello_delay(PEER, "bob") == 0


@settings(deadline=None, max_examples=100)
@given(
    rate=st.floats(0.2, 20),
    burst=st.integers(1, 10),
    steps=st.lists(st.tuples(st.floats(0, 2), st.sampled_from("abcde"), st.booleans()), max_size=200),
)
def test_hello_delay_is_kept_and_rate_holds_in_any_play(
    rate: float, burst: int, steps: list[tuple[float, str, bool]]
) -> None:
    clock = Clock()
    table = with_limits(clock, rate_failed_hellos=rate, rate_failed_hellos_burst=burst)
    start, failed = clock.now, 0
    promised: dict[str, float] = {}
    for gap, connection, good in steps:
        clock.now += gap
        wait = table.hello_delay(PEER, connection)
        if wait:
            # Then no time is extended, nor over the maximum
            at = clock.now + wait
            assert at <= promised.setdefault(connection, at) + 0.011
            assert wait <= MAX_HELLO_DELAY_S
            assert clock.now < promised[connection]
            continue
        promised.pop(connection, None)
        if not good:
            table.record_failed_hello(PEER)
            failed += 1
        # And failures stay within the rate, but for those after the maximum delay
        assert (
            failed
            <= burst + rate * (clock.now - start) + 5 * ((clock.now - start) / MAX_HELLO_DELAY_S) + 0.001
        )


# Memory


def test_buckets_of_many_addresses_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_limits, "MAX_TRACKED_ADDRESSES", 100)
    limits = {"rate_connections": 1, "rate_connections_burst": 2, "rate_failed_hellos": 1}
    table = with_limits(clock, **limits)
    for number in range(1000):
        host = f"2001:db8:0:{number:x}::1"
        assert table.admit(host) is None
        table.record_failed_hello(host)
        assert max(table.tracked_counts()) <= 100
    # and recently used ones are kept
    assert table.admit("2001:db8:0:3e7::ffff") is None
    assert isinstance(table.admit("2001:db8:0:3e7::ffff"), Rejection)
    for number in range(1000):
        table.admit(f"2001:db8:1:{number:x}::1")
        assert (table.admit(PEER) is None) is (number < 2)


def test_full_buckets_are_dropped(clock: Clock) -> None:
    limits = {"rate_connections": 1, "rate_connections_burst": 5, "rate_failed_hellos": 1}
    table = with_limits(clock, **limits, rate_failed_hellos_burst=5)
    for number in range(500):
        table.admit(f"192.0.2.{number % 250}")
        table.record_failed_hello(f"192.0.2.{number % 250}")
        clock.now += 1
    arrivals, failures = table.tracked_counts()
    assert arrivals <= 6
    assert failures <= 6 + MAX_HELLO_DELAY_S


def test_buckets_in_debt_are_kept(clock: Clock) -> None:
    # Given an address with a debt of several seconds
    table = with_limits(clock, rate_failed_hellos=1, rate_failed_hellos_burst=2)
    for number in range(12):
        failing(table, str(number))
    # When others fail after its burst alone would be full again
    clock.now += 3
    table.record_failed_hello("192.0.2.8")
    # Then its delay remains
    assert table.hello_delay(PEER, "ann") == 8


def test_released_connections_leave_nothing(clock: Clock) -> None:
    table = with_limits(clock, connections=5, rate_failed_hellos=1, rate_failed_hellos_burst=1)
    for number in range(50):
        table.admit(PEER)
        failing(table, str(number))
        table.release(PEER, str(number))
    assert not table._reservations
    assert not table._connection_counts
