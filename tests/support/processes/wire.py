"""Raw line-based connections for tests, with timeouts."""

import socket
from typing import Self

from support.processes.process import TIMEOUT_S


class ConnectionEnded(Exception):  # noqa: N818  an end of input, not an error
    """The server closed the connection."""


class RawConnection:
    """A TCP connection that reads lines."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, source: str = "", receive_buffer: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send bytes at once
        if source:
            self.sock.bind((source, 0))
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._unread = b""
        try:
            self.sock.connect((host, port))
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_line(self) -> bytes:
        """Return the next line without its newline. Raises `ConnectionEnded` at the end."""
        while b"\n" not in self._unread:
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionEnded(self._unread)
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def read_to_end(self) -> bytes:
        """Return everything until the server closes."""
        while data := self.sock.recv(1 << 16):
            self._unread += data
        rest, self._unread = self._unread, b""
        return rest

    def half_close(self) -> None:
        """Shut down the sending side, as `nc -N` at the end of its input."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()
