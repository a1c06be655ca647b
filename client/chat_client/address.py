"""Server addresses: parsing `HOST`, `HOST:PORT`, `[::1]:7072` and `::1`, without resolving host names."""

from collections.abc import Sequence
from typing import NamedTuple

from chat_protocol import DEFAULT_PORT

_MAX_PORT = 65_535  # RFC 9293: 16 bits


class Address(NamedTuple):
    """Address of a server; `str()` gives `HOST:PORT`, with brackets around an IPv6 address.

    - `host`: name or IP address.
    - `port`: TCP port, 1 to 65,535 (default 7072).
    """

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Parse the address of a server.

    - `text`: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or an IPv6 address without a port.
    - `default_port`: the port if `text` has none (default 7072).

    Raises `ValueError` with a sentence that contains `text`.
    """
    text = text.strip()
    if "://" in text:
        raise ValueError(f"{text!r} is not an address, write HOST:PORT without {text.partition('://')[0]}://")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: write an IPv6 address with a port as [::1]:{DEFAULT_PORT}")
        port = rest[1:] if rest else ""
    elif text.count(":") > 1:
        host, port = text, ""  # an IPv6 address without brackets can have no port
        rest = ""
    else:
        host, rest, port = text.partition(":")
    if not host or any(not char.isprintable() or char.isspace() or char in "/,@" for char in host):
        raise ValueError(f"{text!r} is not an address, write HOST:PORT")
    return Address(host, parse_port(port) if rest else default_port)


def as_addresses(servers: str | Address | Sequence[str | Address]) -> list[Address]:
    """Return the addresses in an argument of the library. Raises `ValueError` if there is none."""
    several = [servers] if isinstance(servers, (str, Address)) else list(servers)
    if not several:
        raise ValueError("no server address given; pass at least one")
    return [parse_address(one) if isinstance(one, str) else one for one in several]


def parse_port(text: str) -> int:
    """Return a port number. Raises `ValueError` with a sentence that contains `text`."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT):
        raise ValueError(f"{text!r} is not a port number from 1 to {_MAX_PORT}")
    return int(text)


def parse_servers(text: str) -> list[Address]:
    """Return the addresses in a comma-separated list, as in CHAT_SERVER; errors as in `parse_address`."""
    return [parse_address(part) for part in text.split(",") if part.strip()]
