"""Kernel receive timestamps (SO_TIMESTAMPNS, socket(7)), enabled before the first bot connects.

Linux starts to timestamp packets shortly after the first socket asks for it, and stops with the last such
socket. Data received in between has no timestamp and would be timed by when Python read it. So each bot
process keeps one loopback connection of its own that asks for timestamps for as long as the process has bots.
"""

import _socket
import socket
import time
from typing import Final

SO_TIMESTAMPNS: Final = 35
"""From <asm-generic/socket.h>; the socket module has no name for it before Python 3.14."""
ANCILLARY_BYTES: Final = _socket.CMSG_SPACE(16)
"""Size of the ancillary data of recvmsg(2): one struct timespec."""

_ENABLE_TIMEOUT_S: Final = 1.0
"""A kernel that does not timestamp by then never will; the report says so."""
_PROBE_INTERVAL_S: Final = 0.001


class RxTimestamping:
    """A loopback connection that keeps timestamping on; to create it blocks for a second at most."""

    def __init__(self) -> None:
        listening = _socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1)
            self._reader = _socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._reader.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._reader.connect(listening.getsockname())
            descriptor, _ = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001  all that it has
            self._writer = _socket.socket(fileno=descriptor)
        finally:
            listening.close()
        self.enabled = self._wait_until_enabled()
        """Whether the kernel timestamps received data."""

    def close(self) -> None:
        """Close the connection: timestamping ends with the last socket that asked for it."""
        self._reader.close()
        self._writer.close()

    def _wait_until_enabled(self) -> bool:
        end = time.monotonic() + _ENABLE_TIMEOUT_S
        while True:
            self._writer.send(b"?")
            _, ancillary, _, _ = self._reader.recvmsg(1, ANCILLARY_BYTES)
            if ancillary or time.monotonic() > end:
                return bool(ancillary)
            time.sleep(_PROBE_INTERVAL_S)
