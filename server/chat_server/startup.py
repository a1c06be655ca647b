"""What the server needs before it is built: its limits, descriptors and ports, from the settings."""

import resource
import socket

from chat_server.core.base.limits import Limits
from chat_server.engines.factory import CannotStart
from chat_server.net.address_limits import AddressLimitSettings
from chat_server.net.listener import listen
from chat_server.settings.load import Config


def listen_or_fail(flag_prefix: str, host: str, port: int) -> socket.socket:
    """Return a listening socket, or raise `CannotStart`, with `flag_prefix` in front of the flags' names."""
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
        max_rooms=config.max_rooms,
        max_conversations=config.max_conversations,
        max_public_rooms=config.max_public_rooms,
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
