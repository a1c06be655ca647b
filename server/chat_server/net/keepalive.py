"""TCP keepalive (tcp(7)), for peers whose dialect has no pings."""

import socket
from typing import Final

from chat_server.net.transport import Transport

_OPTIONS: Final = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
)
"""Idle seconds, seconds between probes, number of probes."""


def enable_keepalive(transport: Transport) -> None:
    """Let the kernel find out, within about two minutes, that the peer has gone."""
    transport.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        transport.setsockopt(socket.IPPROTO_TCP, option, value)
