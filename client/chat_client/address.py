"""Addresses of servers as people write them: `HOST`, `HOST:PORT`, `[::1]:7072`, `::1`.

Knows spelling only. Must not resolve names or connect.
"""

from typing import NamedTuple

from chat_protocol import DEFAULT_PORT

_MAX_PORT = 65_535  # RFC 9293: 16 bits


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Return the address that `text` means, or raise ValueError with the reason."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: an IPv6 address with a port is written [::1]:{DEFAULT_PORT}")
        port = rest[1:] if rest else ""
    elif text.count(":") > 1:
        host, port = text, ""  # an IPv6 address without brackets can have no port
        rest = ""
    else:
        host, rest, port = text.partition(":")
    if not host or any(char.isspace() or char in "/,@" for char in host):
        raise ValueError(f"{text!r}: a server is written HOST:PORT")
    return Address(host, parse_port(port) if rest else default_port)


def parse_port(text: str) -> int:
    """Return a port number, or raise ValueError with the reason."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT):
        raise ValueError(f"{text!r} is no port: 1 to {_MAX_PORT}")
    return int(text)


def parse_servers(text: str) -> list[Address]:
    """Return the addresses in a comma-separated list, as in CHAT_SERVER."""
    return [parse_address(part) for part in text.split(",") if part.strip()]
