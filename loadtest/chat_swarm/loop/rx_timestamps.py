"""The kernel's stamping of what is received, switched on before anything is timed by it.

Knows sockets. Must not know bots. Linux begins to stamp a moment after the first socket asks for it, and ends
with the last one: what a bot receives in that moment has no stamp, and would be timed by when it was read. So
an engine has a connection of its own that asks for stamps from before the first bot to after the last.
"""

import _socket
import socket
import time
from typing import Final

SO_TIMESTAMPNS: Final = 35
"""From <asm-generic/socket.h>; the socket module has no name for it before Python 3.14."""
ANCILLARY_BYTES: Final = _socket.CMSG_SPACE(16)
"""Bytes beside the data that a read takes: one struct timespec."""

_ENABLE_TIMEOUT_S: Final = 1.0
"""Seconds; a kernel that does not stamp by then never will, and the report says so."""
_PROBE_INTERVAL_S: Final = 0.001


class RxTimestamping:
    """A connection on loopback whose bytes are stamped; blocks until they are, for a second at most."""

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
        """Whether the kernel stamps."""

    def close(self) -> None:
        """Need no more stamps."""
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
