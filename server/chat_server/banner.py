"""What is printed at the start: where the server listens, where messages are kept, and how to connect."""

import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chat_protocol import DEFAULT_PORT
from chat_server.net.interfaces import own_addresses
from chat_server.settings.load import Config

MAX_ADDRESSES_SHOWN: Final = 4
OPEN_TO_OTHERS: Final = (
    "Everybody that can reach this port is let in, without a password. Everything is sent in clear text."
)


def banner(config: Config, port: int, location: str, hosts: Sequence[str]) -> str:
    """Return the lines for standard error. `location`: of the data; `hosts`: the addresses it listens on."""
    kept = f"in {location}" if config.store_path else "in memory, and lost when it stops"
    shown = f"[{config.host}]" if ":" in config.host else config.host
    lines = [f"Greenroom listens on {shown}:{port}. Messages are kept {kept}."]
    if any(ipaddress.ip_address(_without_scope(host)).is_unspecified for host in hosts):
        lines.append(_how_to_connect("127.0.0.1", port))
        lines += _from_other_machines(port, hosts)
    else:
        lines.append(_how_to_connect(config.host, port))
    if not all(_is_loopback(host) for host in hosts):
        lines.append(OPEN_TO_OTHERS)
    if config.metrics_port:
        name = f"[{config.metrics_host}]" if ":" in config.metrics_host else config.metrics_host
        lines.append(f"Metrics: http://{name}:{config.metrics_port}/metrics")
    if config.console:
        lines.append(f"The log is written to {config.log_file}.")
    return "\n".join([*lines, "Ctrl-C stops the server.", ""])


def _how_to_connect(host: str, port: int) -> str:
    client = "chat-client" if shutil.which("chat-client") else _client_beside()
    return f"Connect with: {client}{_flags(host, port)}   or: nc {host} {port}"


def _client_beside() -> str:
    """Return the path of the `chat-client` beside this program."""
    path = Path(sys.argv[0]).with_name("chat-client")
    try:
        return os.path.relpath(path)
    except OSError:  # the folder it was started in has been deleted
        return str(path)


def _from_other_machines(port: int, hosts: Sequence[str]) -> list[str]:
    """Return a line for each address that others may use, of the kinds that are listened on."""
    only_ipv4 = all("." in host for host in hosts)
    addresses = [one for one in own_addresses() if not (only_ipv4 and ":" in one)]
    lines = [
        f"From elsewhere: chat-client{_flags(one, port)}   or: nc {one} {port}"
        for one in addresses[:MAX_ADDRESSES_SHOWN]
    ]
    return lines or [f"From elsewhere: chat-client --host {socket.gethostname()}{_flags('127.0.0.1', port)}"]


def _flags(host: str, port: int) -> str:
    where = "" if host == "127.0.0.1" else f" --host {host}"
    return where + ("" if port == DEFAULT_PORT else f" --port {port}")


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(_without_scope(host)).is_loopback


def _without_scope(host: str) -> str:
    return host.partition("%")[0]
