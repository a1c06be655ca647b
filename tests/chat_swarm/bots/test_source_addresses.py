"""The local address that a bot connects from."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.bots.source_addresses import CONNECTIONS_PER_ADDRESS, SourceAddresses

HERE = IPv4Address("127.0.0.1")


def test_loopback_addresses_are_filled_one_after_the_other() -> None:
    sources = SourceAddresses(HERE)
    taken = [sources.acquire_address() for _ in range(2 * CONNECTIONS_PER_ADDRESS + 1)]
    assert taken[0] == taken[CONNECTIONS_PER_ADDRESS - 1] == "127.0.0.1"
    assert taken[CONNECTIONS_PER_ADDRESS] == taken[2 * CONNECTIONS_PER_ADDRESS - 1] == "127.0.0.2"
    assert taken[-1] == "127.0.0.3"


def test_released_address_is_acquired_first() -> None:
    sources = SourceAddresses(HERE, per_address=2)
    assert [sources.acquire_address() for _ in range(4)] == [
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.2",
        "127.0.0.2",
    ]
    sources.release_address("127.0.0.1")
    assert [sources.acquire_address() for _ in range(2)] == ["127.0.0.1", "127.0.0.3"]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 600))
def test_processes_share_no_address(processes: int, per_address: int, bots: int) -> None:
    seen: set[str | None] = set()
    for process in range(processes):
        sources = SourceAddresses(HERE, process=process, processes=processes, per_address=per_address)
        taken = [sources.acquire_address() for _ in range(bots)]
        assert max(sources.connection_counts.values()) <= per_address
        assert all(ip_address(str(address)) in ip_network("127.0.0.0/8") for address in taken)
        assert seen.isdisjoint(taken)
        seen |= set(taken)


def test_given_addresses_are_filled_evenly() -> None:
    given_addresses = [IPv4Address(f"10.0.0.{last}") for last in (4, 5, 6)]
    sources = SourceAddresses(IPv4Address("10.0.0.1"), given_addresses)
    assert [sources.acquire_address() for _ in range(4)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.4"]
    sources.release_address("10.0.0.6")
    assert sources.acquire_address() == "10.0.0.6"
    assert sources.connection_counts == {"10.0.0.4": 2, "10.0.0.5": 1, "10.0.0.6": 1}


@pytest.mark.parametrize("target", [IPv4Address("192.0.2.1"), IPv6Address("::1"), IPv6Address("2001:db8::1")])
def test_target_elsewhere_lets_the_kernel_choose(target: IPv4Address | IPv6Address) -> None:
    sources = SourceAddresses(target)
    assert sources.acquire_address() is None
    sources.release_address(None)
    assert sources.connection_counts == {}


def test_release_of_an_address_never_acquired_is_refused() -> None:
    sources = SourceAddresses(HERE)
    sources.release_address(sources.acquire_address())
    for address in ("127.0.0.1", "127.0.0.9"):
        with pytest.raises(ValueError, match="no connection"):
            sources.release_address(address)


def test_address_of_another_ip_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"::1 cannot be reached from 127\.0\.0\.1"):
        SourceAddresses(IPv6Address("::1"), [HERE])


def test_process_number_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="process number 2 is out of range; there are 2"):
        SourceAddresses(HERE, process=2, processes=2)
