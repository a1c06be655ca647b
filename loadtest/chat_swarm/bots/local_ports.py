"""The local ports that the kernel gives to outgoing connections (ip(7): ip_local_port_range)."""

from pathlib import Path
from typing import Final, NamedTuple

from chat_swarm.bots.source_addresses import CONNECTIONS_PER_ADDRESS

_SETTING: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SHARE_USED: Final = 0.4
"""Share of the ports of one address to use: a free one is then found at once, also while others are in
TIME_WAIT."""


class LocalPorts(NamedTuple):
    """The first and the last port of the range."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """The number of ports: the most connections from one local address to one server."""
        return self.last - self.first + 1

    @property
    def connections_per_address(self) -> int:
        """The number of connections from one loopback address, before the next one is used."""
        return max(1, min(CONNECTIONS_PER_ADDRESS, int(self.size * _SHARE_USED)))

    @property
    def exhausted_sentence(self) -> str:
        """What to do if there are too few."""
        return (
            f"net.ipv4.ip_local_port_range ({self.first} to {self.last}) has {self.size:,} local ports for"
            " the connections from one address: widen it with sysctl, or give more local addresses with"
            " --source-addresses"
        )


def read_local_ports() -> LocalPorts:
    """Return the range of this machine; Linux's default where it cannot be read."""
    try:
        first, last = _SETTING.read_text(encoding="ascii").split()
        return LocalPorts(int(first), int(last))
    except (OSError, ValueError):
        return LocalPorts(32_768, 60_999)
