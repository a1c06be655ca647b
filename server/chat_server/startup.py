"""What the server needs before it is built: its limits, descriptors and ports, from the settings."""

import resource
import socket
from collections.abc import Mapping
from contextlib import suppress

from chat_server.core.base.limits import Limits
from chat_server.engines.factory import CannotStart
from chat_server.net.address_limits import AddressLimitSettings
from chat_server.net.listener import listen
from chat_server.settings.load import Config


def listen_or_fail(flag_prefix: str, host: str, port: int) -> list[socket.socket]:
    """Return listening sockets, or raise `CannotStart`, with `flag_prefix` in front of the flags' names."""
    try:
        return listen(host, port)
    except socket.gaierror as error:
        raise CannotStart(f"--{flag_prefix}host {host}: {error.strerror}") from error
    except OSError as error:
        where = f"{host}, {flag_prefix.replace('-', ' ')}port {port}"
        raise CannotStart(f"cannot listen on {where}: {error.strerror}") from error


def limits_of(config: Config) -> Limits:
    """Return the core's limits from the settings."""
    return Limits(
        rate_messages=config.rate_messages,
        rate_messages_burst=config.rate_messages_burst,
        rate_bytes=config.rate_bytes,
        rate_bytes_burst=config.rate_bytes_burst,
        rate_address_factor=config.rate_address_factor,
        max_rooms=config.max_rooms,
        max_conversations=config.max_conversations,
        max_public_rooms=config.max_public_rooms,
        rate_rooms=config.rate_rooms,
        rate_conversations=config.rate_conversations,
        max_held=config.max_held,
        max_held_per_address=config.max_connections_per_address,
    )


def address_limits_of(config: Config) -> AddressLimitSettings:
    """Return the limits of each address from the settings."""
    return AddressLimitSettings(
        connections=config.max_connections_per_address,
        rate_connections=config.rate_connections,
        rate_connections_burst=config.rate_connections_burst,
        rate_failed_hellos=config.rate_failed_hellos,
        rate_failed_hellos_burst=config.rate_failed_hellos_burst,
        limit_loopback=config.limit_loopback,
    )


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard limit; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1_048_576  # Linux's own ceiling by default (fs.nr_open)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # some systems have a lower maximum
        return soft
    return hard


def notify_service_manager(environ: Mapping[str, str], state: str) -> None:
    """Report a state, such as `READY=1`, to systemd, if it has asked for that (sd_notify(3))."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):  # @: an address in the abstract namespace (unix(7))
        return
    with (
        suppress(OSError),  # a service manager that does not listen is no reason not to run
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notification,
    ):
        notification.sendto(state.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)
