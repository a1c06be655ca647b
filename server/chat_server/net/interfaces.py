"""The addresses of this machine's network interfaces: by these, others can connect to it.

Asked of the kernel: a look-up of the machine's own name answers 127.0.1.1 on Debian, and nothing on others.
"""

import array
import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

_SIOCGIFCONF: Final = 0x8912
_IFCONF: Final = struct.Struct("iP")
_IFREQ: Final = struct.Struct("16sH2x4s16x")
"""An entry of the list (netdevice(7), 64 bits): name and sockaddr_in, padded to 40 bytes."""
MAX_ADDRESSES: Final = 256

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def own_addresses() -> list[str]:
    """Return the addresses by which others may reach this machine: IPv4, then IPv6; empty if unknown."""
    found: list[_Address] = [*_ipv4_addresses(), *_ipv6_addresses()]
    usable = [one for one in found if not (one.is_loopback or one.is_link_local or one.is_unspecified)]
    return [str(one) for one in dict.fromkeys(usable)]


def _ipv4_addresses() -> list[ipaddress.IPv4Address]:
    buffer = array.array("B", bytes(MAX_ADDRESSES * _IFREQ.size))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = _IFCONF.pack(len(buffer), buffer.buffer_info()[0])
        size, _ = _IFCONF.unpack(fcntl.ioctl(sock, _SIOCGIFCONF, request))
        entries = _IFREQ.iter_unpack(buffer[: size // _IFREQ.size * _IFREQ.size])
        return [ipaddress.IPv4Address(address) for _, family, address in entries if family == socket.AF_INET]
    return []


def _ipv6_addresses() -> list[ipaddress.IPv6Address]:
    with suppress(OSError):
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
        return [ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in lines]
    return []
