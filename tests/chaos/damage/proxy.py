"""A TCP proxy that injects network faults: delays, single bytes, stalls, ends in mid-frame.

The faults of each connection are planned (`plan.plan_connection`). It forwards bytes, not frames; only
`tamper`, with which tests simulate a faulty server, gets whole lines. Runs in one thread.
"""

import contextlib
import json
import random
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Self

from chaos.plan import ConnectionEnd, ConnectionPlan, plan_connection

_MAX_HELD_BYTES = 1 << 16
_READ_BYTES = 1 << 14
_MAX_UNREAD_BYTES = 1 << 24
_LINGER_0 = struct.pack("ii", 1, 0)
Tamper = Callable[[bytes], bytes]
"""Takes a line from the server; returns the bytes that the client gets instead."""


class _Direction:
    """One direction of a proxied connection."""

    def __init__(self, source: socket.socket, target: socket.socket, singles: int) -> None:
        self.source = source
        self.target = target
        self.singles = singles
        self.held: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.due = 0.0
        self.ended = False  # the source has sent its last byte
        self.partial = b""
        self._line = b""  # what was forwarded of a line that is not complete yet

    def enqueue(self, data: bytes, due: float) -> None:
        self.due = max(self.due, due)
        self.held.append((self.due, data))
        self.size += len(data)

    def forward(self, now: float, *, calm: bool) -> int:
        """Forward due bytes; return how many were sent."""
        if not self.held or self.held[0][0] > now:
            return 0
        due, data = self.held.popleft()
        piece = data[:1] if self.singles > 0 and not calm else data
        try:
            sent = self.target.send(piece)
        except BlockingIOError:
            sent = 0
        self.singles -= sent
        self.size -= sent
        self._line = (self._line + data[:sent]).rpartition(b"\n")[2]
        if sent < len(data):
            self.held.appendleft((due, data[sent:]))
        return sent

    def unforwarded_lines(self) -> list[bytes]:
        """Return the lines that were acknowledged to the source, and not forwarded whole."""
        unread = b""
        with contextlib.suppress(OSError):  # nothing, or reset: then the kernel has dropped it
            unread = self.source.recv(_MAX_UNREAD_BYTES, socket.MSG_PEEK)
        return (self._line + b"".join(data for _, data in self.held) + unread).split(b"\n")


class _ProxiedConnection:
    """A client's connection, with the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, plan: ConnectionPlan, seed: str) -> None:
        self.plan = plan
        self.rng = random.Random(seed)
        self.directions = (
            _Direction(client, server, plan.single_bytes),
            _Direction(server, client, plan.single_bytes),
        )
        self.passed = 0
        self.stalled_until = 0.0
        self.hung = False
        self.username = ""  # of the client's `hello`


class ChaosProxy:
    """Listens on `port` and forwards to the port `target`; a context manager."""

    def __init__(
        self,
        target: int,
        seed: object,
        *,
        calm: bool = False,
        hangs: bool = True,
        tamper: Tamper | None = None,
    ) -> None:
        self.target = target
        self.ends: Counter[str] = Counter()
        self.stalls = 0
        self.calm = calm
        """Whether it injects no faults from now on."""
        self.connections = 0
        self._lost_openings: set[tuple[str, str]] = set()
        self._hung: list[_ProxiedConnection] = []
        self._seed = seed
        self._hangs = hangs  # whether a connection may hang for good, or is reset instead
        self._tamper = tamper
        self._pairs: dict[socket.socket, _ProxiedConnection] = {}
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for pair in set(self._pairs.values()):
            self._close(pair)
        self._listening.close()
        self._selector.close()

    def lost_opening(self, username: str, room: str) -> bool:
        """Return whether an `opened` was acknowledged to the server and never reached the user."""
        for pair in list(self._hung):  # these are not closed before the end
            self._note_lost_openings(pair)
        return (username, room) in self._lost_openings

    def _note_lost_openings(self, pair: _ProxiedConnection) -> None:
        for line in pair.directions[1].unforwarded_lines():
            if b'"opened"' in line and line.endswith(b"}"):
                frame = json.loads(line)
                if frame["type"] == "opened":
                    self._lost_openings.add((pair.username, frame["room"]))

    def _run(self) -> None:
        while not self._stopping.is_set():
            busy = any(way.held for pair in self._pairs.values() for way in pair.directions)
            for key, _ in self._selector.select(0.0005 if busy else 0.02):
                if key.fileobj is self._listening:
                    self._accept()
                elif (pair := self._pairs.get(key.data)) is not None:
                    self._receive(pair, key.data)
            now = time.monotonic()
            for pair in set(self._pairs.values()):
                self._forward_due(pair, now)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        server = socket.socket()
        try:
            server.connect(("127.0.0.1", self.target))
        except OSError:  # the server is down
            server.close()
            client.close()
            return
        self.connections += 1
        plan = plan_connection(self._seed, self.connections)
        pair = _ProxiedConnection(client, server, plan, f"{self._seed}/pair/{self.connections}")
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[sock] = pair
            self._selector.register(sock, selectors.EVENT_READ, sock)

    def _receive(self, pair: _ProxiedConnection, sock: socket.socket) -> None:
        way = pair.directions[0] if pair.directions[0].source is sock else pair.directions[1]
        now = time.monotonic()
        if pair.hung or now < pair.stalled_until or way.size > _MAX_HELD_BYTES:
            self._stop_reading(sock)
            return
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._close(pair, reset=True)
            return
        if not data:
            way.ended = True
            self._stop_reading(sock)
            return
        if way is pair.directions[0] and not pair.username and b"\n" in data:  # `hello` comes in one piece
            pair.username = json.loads(data.partition(b"\n")[0])["username"]
        if self._tamper is not None and way is pair.directions[1]:
            *lines, way.partial = (way.partial + data).split(b"\n")
            data = b"".join(self._tamper(line) for line in lines)
        if data:
            way.enqueue(data, now + (0.0 if self.calm else pair.rng.uniform(0, pair.plan.max_delay_s)))

    def _stop_reading(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(sock)

    def _forward_due(self, pair: _ProxiedConnection, now: float) -> None:
        plan = pair.plan
        if pair.hung or now < pair.stalled_until:
            return
        for way in pair.directions:
            try:
                sent = way.forward(now, calm=self.calm)
            except OSError:
                self._close(pair, reset=True)
                return
            before, pair.passed = pair.passed, pair.passed + sent
            if not self.calm:
                if before < plan.stall_at_bytes <= pair.passed:
                    pair.stalled_until = now + plan.stall_s
                    self.stalls += 1
                if plan.end is not ConnectionEnd.NONE and before < plan.end_at_bytes <= pair.passed:
                    self._end(pair, plan.end)
                    return
            if way.ended and not way.held:
                self._close(pair)
                return
            if way.source not in self._selector.get_map() and not way.ended and way.size <= _MAX_HELD_BYTES:
                self._selector.register(way.source, selectors.EVENT_READ, way.source)

    def _end(self, pair: _ProxiedConnection, end: ConnectionEnd) -> None:
        if end is ConnectionEnd.HANG and not self._hangs:
            end = ConnectionEnd.RESET
        self.ends[end] += 1
        if end is ConnectionEnd.HANG:
            pair.hung = True
            self._hung.append(pair)
            for way in pair.directions:
                self._stop_reading(way.source)
        else:
            self._close(pair, reset=end is ConnectionEnd.RESET)

    def _close(self, pair: _ProxiedConnection, *, reset: bool = False) -> None:
        self._note_lost_openings(pair)
        for way in pair.directions:
            self._stop_reading(way.source)
            self._pairs.pop(way.source, None)
            if reset:
                with contextlib.suppress(OSError):
                    way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            way.source.close()
