"""What the kernel knows of a TCP connection (Linux, linux/tcp.h, since 5.4); None where it does not say."""

from __future__ import annotations

import fcntl
import math
import socket
import struct
import sys
import termios
from typing import Final

from chat_server.net.transport import Transport

RTT_KEPT_S: Final = 1.0
"""Seconds for which a round-trip time is not asked for again: a list of hundreds of users costs a system call
for each of them, and anybody may ask for one again and again."""

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


class TcpWatch:
    """What is remembered of the answers for one connection."""

    __slots__ = ("_asked_at", "_progress", "_rtt_ms", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._progress: tuple[int, int] | None = None  # as of the last `made_progress`
        self._rtt_ms: float | None = None
        self._asked_at = -math.inf

    def rtt_ms(self, now: float) -> float | None:
        """Return the smoothed round-trip time in ms; asked for once in `RTT_KEPT_S`. `now`: monotonic s."""
        if now - self._asked_at >= RTT_KEPT_S:
            microseconds = rtt_us(self._transport)
            self._rtt_ms = None if microseconds is None else microseconds / 1000
            self._asked_at = now
        return self._rtt_ms

    def made_progress(self) -> bool:
        """Return whether the peer has read bytes since the last call, as far as the kernel knows.

        Acknowledged bytes may be unread in the peer's buffers; that it reads them shows in its window.
        """
        found = progress(self._transport)
        if found is None:
            return False
        acknowledged, unsent, window = found
        before, self._progress = self._progress, (acknowledged, window)
        if before is None:
            return bool(unsent)
        return window > before[1] or (bool(unsent) and acknowledged > before[0])


def _read(transport: Transport, fields: struct.Struct) -> tuple[int, ...] | None:
    try:
        info = transport.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, fields.size)
        return fields.unpack(info)
    except (OSError, AttributeError, struct.error):  # closed meanwhile, no Linux, or an older one
        return None
