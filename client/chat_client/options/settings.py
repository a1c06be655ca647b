"""Settings of `chat-client` from the command line and the environment: servers, name, timeout."""

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from chat_cli.environment import read_variables
from chat_client.address import Address, parse_address, parse_port, parse_servers
from chat_protocol import DEFAULT_PORT

SERVER_VARIABLE: Final = "CHAT_SERVER"
USERNAME_VARIABLE: Final = "CHAT_USERNAME"
VARIABLES: Final = (SERVER_VARIABLE, USERNAME_VARIABLE)

LOCALHOST = "localhost"
"""This machine: the server may listen on 127.0.0.1 or ::1, as its hosts file says."""


class Settings(Struct, frozen=True):
    """`servers` is empty if none was given; with `strict_name`, no other name is tried; `timeout` in s.

    `notes` are sentences for stderr about environment variables that are ignored.
    """

    servers: list[Address]
    username: str | None
    strict_name: bool
    timeout: float
    notes: tuple[str, ...] = ()

    @property
    def effective_servers(self) -> list[Address]:
        """The servers to use; if none was given, the local one on the default port."""
        return self.servers or [Address(LOCALHOST, DEFAULT_PORT)]


def gather_settings(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; flags take precedence over the environment. Raises `ValueError`.

    A variable whose flag was given is not judged.
    """
    servers: list[Address] = getattr(options, "server", None) or []
    host: str | None = getattr(options, "host", None)
    port: int | None = getattr(options, "port", None)
    flag: str | None = getattr(options, "username", None)
    overridden = [SERVER_VARIABLE] if servers or host is not None or port is not None else []
    if flag is not None:
        overridden.append(USERNAME_VARIABLE)
    variables, notes = read_variables(environ, VARIABLES, overridden=overridden)
    if servers and (host is not None or port is not None):
        raise ValueError("give --server HOST:PORT, or --host and --port, not both")
    if host is not None:
        address = parse_address(host, port or DEFAULT_PORT)
        servers = [address._replace(port=port) if port is not None else address]
    elif port is not None:
        servers = [Address(LOCALHOST, port)]
    elif not servers:
        try:
            servers = parse_servers(variables.get(SERVER_VARIABLE, ""))
        except ValueError as error:
            raise ValueError(f"{SERVER_VARIABLE}: {error}") from None
    return Settings(
        servers=servers,
        username=flag if flag is not None else variables.get(USERNAME_VARIABLE),
        strict_name=flag is not None,
        timeout=getattr(options, "timeout", None) or 10.0,
        notes=tuple(notes),
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options common to all subcommands, which may come before or after the subcommand."""
    group = parser.add_argument_group("server and name")
    group.add_argument(
        "--server",
        metavar="HOST:PORT",
        action="append",
        type=argument_type(parse_address),
        default=argparse.SUPPRESS,
        help="address of the server; if repeated, the quickest that answers is used "
        "(environment: CHAT_SERVER, comma-separated)",
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
        help="user name (environment: CHAT_USERNAME)",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument_type(positive_seconds),
        default=argparse.SUPPRESS,
        help="seconds to wait for a connection and for each answer (default: 10)",
    )


def positive_seconds(text: str) -> float:
    """Return a number of seconds above 0. Raises `ValueError` with a sentence."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 86_400:  # a day; also rejects nan
        raise ValueError(f"{text!r} is not a number of seconds above 0 and below 86400")
    return number


def argument_type(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return `parse` as an argparse type, whose error messages are those of its `ValueError`."""

    def checked(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
