"""Local addresses to connect from: more connections than one address has ephemeral ports. Pure.

A TCP connection is identified by both its ends, so one local address can have as many connections to one
server as there are ephemeral ports (28,232 by default, ip(7): ip_local_port_range), and the search for a free
port gets slow long before that. All of 127.0.0.0/8 belongs to this machine (RFC 6890), so there are enough
addresses for a loopback server. Callers should set IP_BIND_ADDRESS_NO_PORT before bind(2), so that the port
is chosen at connect(2).
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import count
from typing import Final

IpAddress = IPv4Address | IPv6Address

CONNECTIONS_PER_ADDRESS: Final = 12_000
"""Connections from one loopback address: less than half of the ephemeral ports, so that a free one is found
at once, also while closed ones are in TIME_WAIT."""

LOOPBACK_NETWORK: Final = ip_network("127.0.0.0/8")
"""All of it belongs to this machine."""
_FIRST_LOOPBACK: Final = IPv4Address("127.0.0.1")


class SourceAddresses:
    """The local addresses of one process, with their numbers of connections."""

    def __init__(
        self,
        target: IpAddress,
        given: Sequence[IpAddress] = (),
        process: int = 0,
        processes: int = 1,
        per_address: int = CONNECTIONS_PER_ADDRESS,
    ) -> None:
        """Create the addresses of process number `process` of `processes`: loopback ones are not shared."""
        if not 0 <= process < processes:
            raise ValueError(f"process number {process} is out of range; there are {processes} processes")
        wrong = [str(address) for address in given if address.version != target.version]
        if wrong:
            raise ValueError(f"{target} cannot be reached from {', '.join(wrong)}: use the same IP version")
        self._per_address = per_address
        self._connections: dict[str, int] = {str(address): 0 for address in given}
        self._unused_loopback: Iterator[str] | None = None
        if not given and target in LOOPBACK_NETWORK:
            self._unused_loopback = (str(_FIRST_LOOPBACK + number) for number in count(process, processes))

    @property
    def connection_counts(self) -> dict[str, int]:
        """Address → number of connections, of all addresses ever used."""
        return dict(self._connections)

    def acquire_address(self) -> str | None:
        """Return the address to bind to; None: the kernel chooses.

        Given addresses are used evenly, loopback addresses one after the other.
        """
        if self._unused_loopback is not None:
            free = (address for address, used in self._connections.items() if used < self._per_address)
            address = next(free, None) or next(self._unused_loopback)
        elif self._connections:
            address = min(self._connections, key=self._connections.__getitem__)
        else:
            return None
        self._connections[address] = self._connections.get(address, 0) + 1
        return address

    def release_address(self, address: str | None) -> None:
        """Record the end of a connection from this address. Raises ValueError if it has none."""
        if address is None:
            return
        if self._connections.get(address, 0) < 1:
            raise ValueError(f"there is no connection from {address}")
        self._connections[address] -= 1
