"""What the kernel knows of a TCP connection (Linux, linux/tcp.h, since 5.4); None where it does not say."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from typing import Final

from chat_server.net.transport import Transport

_RTT: Final = struct.Struct("=68xI")  # tcpi_rtt in µs
_PROGRESS: Final = struct.Struct("=120xQ16xI80xI")
"""tcpi_bytes_acked, tcpi_notsent_bytes and tcpi_snd_wnd (the window offered by the peer)."""


def rtt_us(transport: Transport) -> int | None:
    """Return the smoothed round-trip time in µs."""
    values = _read(transport, _RTT)
    return None if values is None else values[0]


def progress(transport: Transport) -> tuple[int, int, int] | None:
    """Return the bytes acknowledged by the peer's kernel, the bytes not sent yet, and the peer's window."""
    values = _read(transport, _PROGRESS)
    return None if values is None else (values[0], values[1], values[2])


def unacknowledged_bytes(transport: Transport) -> int | None:
    """Return the bytes in the kernel that the peer's has not acknowledged (SIOCOUTQ, tcp(7))."""
    try:
        queued = fcntl.ioctl(transport, termios.TIOCOUTQ, bytes(4))
    except OSError:  # closed meanwhile, or no Linux
        return None
    return int.from_bytes(queued, sys.byteorder)


def _read(transport: Transport, fields: struct.Struct) -> tuple[int, ...] | None:
    try:
        info = transport.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, fields.size)
        return fields.unpack(info)
    except (OSError, AttributeError, struct.error):  # closed meanwhile, no Linux, or an older one
        return None
