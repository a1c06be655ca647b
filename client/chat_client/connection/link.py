"""A TCP connection that carries NDJSON: sends commands, returns events, measures pings.

A writer thread per link does the writing, so that sending never blocks: a reader that answers pings cannot be
blocked by a server that does not read.
"""

import collections
import contextlib
import socket
import threading
import time

from chat_client.address import Address
from chat_client.connection.decode import decode_frame
from chat_client.connection.dialing import open_socket
from chat_client.connection.encode import encode_command
from chat_client.errors import ConnectionLost
from chat_client.events import RoundTrip
from chat_protocol.commands import Command, Ping
from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Event, PongEvent
from chat_protocol.framing.lines import LineBuffer

_RECEIVE_BYTES = 65_536
_CLOSE_FLUSH_S = 2.0  # how long `close` waits for queued commands to be written
_TCP_INFO_RTT_OFFSET = 68  # offset of tcpi_rtt in struct tcp_info, linux/tcp.h; 32 bits, microseconds


def dial(address: Address, timeout: float) -> "Link":
    """Connect; `timeout` in seconds, with resolving the host. Raises `ConnectionFailed`."""
    sock = open_socket(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Link(sock)


class Link:
    """An open connection. One thread may `read`; any thread may `send`, `ping` and `close`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lines = LineBuffer()
        self._unsent: collections.deque[tuple[Command, bytes]] = collections.deque()
        self._wake = threading.Condition()
        self._sent_ns: dict[str | int | None, int] = {}  # unanswered pings, by id
        self._write_problem: str | None = None
        self._closing = False
        self._ping_interval_s: float | None = None  # between automatic pings
        self._ping_count = 0
        self._writer = threading.Thread(target=self._write_loop, name="chat-client writer", daemon=True)
        self._writer.start()

    def send(self, command: Command) -> None:
        """Queue `command` for the writer thread. Never blocks; raises as `encode_command` does."""
        data = encode_command(command)
        with self._wake:
            self._unsent.append((command, data))
            self._wake.notify()

    def ping_every(self, seconds: float) -> None:
        """Ping at this interval from now on; `read` returns the answers as `RoundTrip`."""
        with self._wake:
            self._ping_interval_s = seconds
            self._wake.notify()

    def read(self, timeout: float | None) -> list[Event]:
        """Wait for bytes and return the events they complete.

        Raises `ConnectionLost`, also after `timeout` seconds without a byte (None: without limit).
        """
        try:
            self._sock.settimeout(timeout)
            data = self._sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise ConnectionLost(f"connection timed out: nothing received for {timeout:g} s") from None
        except OSError as error:
            raise ConnectionLost(self._write_problem or _explain_os_error(error)) from error
        received_ns = time.perf_counter_ns()
        if not data:
            raise ConnectionLost(self._write_problem or "the server closed the connection")
        try:
            frames = [decode_frame(line) for line in self._lines.feed(data) if line]
        except ValueError as error:
            raise ConnectionLost(str(error)) from error
        if self._lines.overflowed:
            raise ConnectionLost("the server sent a frame longer than the protocol allows")
        return [self._time_pong(event, received_ns) for event in frames if event is not None]

    def tcp_ms(self) -> float | None:
        """Return the kernel's smoothed RTT in ms (TCP_INFO), None if it is not available."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_RTT_OFFSET + 4)
        except OSError:
            return None
        return int.from_bytes(info[_TCP_INFO_RTT_OFFSET:], byteorder="little") / 1000 or None

    def unanswered_s(self) -> float:
        """Return the seconds since the oldest ping without an answer was sent; 0 if all are answered."""
        sent_ns = list(self._sent_ns.values())
        return (time.perf_counter_ns() - min(sent_ns)) / 1e9 if sent_ns else 0.0

    def abort(self) -> None:
        """Break the connection as a network failure would; `read` then raises `ConnectionLost`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, after writing queued commands if the peer accepts them within two seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if threading.current_thread() is not self._writer:
            self._writer.join(_CLOSE_FLUSH_S)
        # shutdown wakes a thread that blocks in recv or send; close alone does not.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _time_pong(self, event: Event, received_ns: int) -> Event:
        if not isinstance(event, PongEvent):
            return event
        sent_ns = self._sent_ns.pop(event.id, None)
        if sent_ns is None:
            return event
        return RoundTrip(ms=(received_ns - sent_ns) / 1e6, ref=event.ref)

    def _write_loop(self) -> None:
        """Thread: write all queued commands at once; ping when due."""
        due = time.monotonic()
        while True:
            with self._wake:
                while not self._unsent and not self._closing:
                    left = None if self._ping_interval_s is None else due - time.monotonic()
                    if left is not None and left <= 0:
                        self._ping_count += 1
                        tick = Ping(id=f"tick-{self._ping_count}")
                        self._unsent.append((tick, encode(tick)))
                        due = time.monotonic() + (self._ping_interval_s or 0)
                        break
                    self._wake.wait(left)
                unsent = list(self._unsent)
                self._unsent.clear()
            if not unsent:
                return
            try:
                self._write(unsent)
            except OSError as error:
                self._write_problem = _explain_os_error(error)
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)  # wakes the reader, which reports the problem
                return

    def _write(self, unsent: list[tuple[Command, bytes]]) -> None:
        pings = [command.id for command, _ in unsent if isinstance(command, Ping)]
        if pings:
            # Pings without an answer must not accumulate; a dict keeps the order of insertion.
            for old in list(self._sent_ns)[: max(0, len(self._sent_ns) - 64)]:
                self._sent_ns.pop(old, None)
            self._sent_ns |= dict.fromkeys(pings, time.perf_counter_ns())
        self._sock.sendall(b"".join(data for _, data in unsent))


def _explain_os_error(error: OSError) -> str:
    match error:
        case TimeoutError():
            return "connection timed out: the server does not read"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset by the server"
        case _:
            return error.strerror or str(error)
