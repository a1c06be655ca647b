"""The transport of a connection: the subset of `socket.socket` that the server uses.

A non-blocking socket is one, so clear text costs no call of ours. Any other MUST behave like it: `recv` and
`send` raise `BlockingIOError` where they would wait, and `OSError` once the peer has gone.
"""

from typing import Protocol


class Transport(Protocol):
    """Bytes to and from one peer."""

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty at the end of input."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Send the beginning of `data`; return the number of bytes taken."""

    def fileno(self) -> int:
        """Return the descriptor whose readiness the event loop watches."""

    def shutdown(self, how: int, /) -> None:
        """End the output (`socket.SHUT_WR`)."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option of the TCP connection."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return an option of the TCP connection."""

    def close(self) -> None:
        """Close it."""
