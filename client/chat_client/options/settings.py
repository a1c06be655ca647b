"""What the command line and the environment say about server and name.

Knows options. Must not connect or ask.
"""

import argparse
import os
from collections.abc import Callable, Mapping

from msgspec import Struct

from chat_client.address import Address, parse_address, parse_port, parse_servers
from chat_protocol import DEFAULT_PORT


class Settings(Struct, frozen=True):
    """`servers` is empty if none was named; `strict_name`: exactly this name, or none."""

    servers: list[Address]
    username: str | None
    strict_name: bool
    timeout: float

    @property
    def effective_servers(self) -> list[Address]:
        """The servers to use: without any named, the one on this machine."""
        return self.servers or [Address("127.0.0.1", DEFAULT_PORT)]


def gather_settings(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; flags come before the environment. ValueError says what is wrong."""
    servers: list[Address] = getattr(options, "server", None) or []
    host: str | None = getattr(options, "host", None)
    port: int | None = getattr(options, "port", None)
    if servers and (host is not None or port is not None):
        raise ValueError("give --server HOST:PORT, or --host and --port, not both")
    if host is not None:
        address = parse_address(host, port or DEFAULT_PORT)
        servers = [address._replace(port=port) if port is not None else address]
    elif port is not None:
        servers = [Address("127.0.0.1", port)]
    elif not servers:
        try:
            servers = parse_servers(environ.get("CHAT_SERVER", ""))
        except ValueError as error:
            raise ValueError(f"CHAT_SERVER: {error}") from None
    flag: str | None = getattr(options, "username", None)
    return Settings(
        servers=servers,
        username=flag if flag is not None else environ.get("CHAT_USERNAME") or None,
        strict_name=flag is not None,
        timeout=getattr(options, "timeout", None) or 10.0,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every subcommand takes, before or behind its name."""
    group = parser.add_argument_group("server and name")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        action="append",
        type=argument_type(parse_address),
        default=argparse.SUPPRESS,
        help="server to talk to; give it several times and the quickest that answers is taken "
        "(environment: CHAT_SERVER, several separated by commas)",
    )
    group.add_argument("--host", default=argparse.SUPPRESS, help="host of the server (default: this machine)")
    group.add_argument(
        "--port",
        type=argument_type(parse_port),
        default=argparse.SUPPRESS,
        help=f"port of the server (default: {DEFAULT_PORT})",
    )
    group.add_argument(
        "--username",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="name to come under (environment: CHAT_USERNAME)",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument_type(positive_seconds),
        default=argparse.SUPPRESS,
        help="how long to wait for a connection and for each answer (default: 10)",
    )


def positive_seconds(text: str) -> float:
    """Return a number of seconds, or raise ValueError with the reason."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 86_400:  # a day; also refuses nan
        raise ValueError(f"{text!r}: a number of seconds above 0")
    return number


def argument_type(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return `parse` as an argparse type whose refusal says why."""

    def checked(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
