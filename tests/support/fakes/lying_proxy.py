"""A TCP proxy that drops, repeats, swaps and delays deliveries on the way from a server to the swarm.

A program: `python -m support.fakes.lying_proxy --listen PORT --to PORT --drop 10000 --repeat-once --delay 50
--delay-ms 200`. It writes its port to stderr, and at SIGTERM its report to stdout, as JSON.
Of the protocol it knows only `message` lines. One thread; sockets are non-blocking.
"""

import argparse
import contextlib
import heapq
import json
import random
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

_READ_BYTES: Final = 1 << 16
_BUFFERED_BYTES: Final = 1 << 20  # buffered for a client before reading from the server stops
_LINGER_RESET: Final = struct.pack("ii", 1, 0)
_FAULTS_LISTED: Final = 1_000  # faults listed one by one in the report
_ONCE_PER_DELIVERIES: Final = (
    50  # a single fault hits one of so many deliveries, at most one of twice as many
)
_SWAP_WAIT_S: Final = 1.0  # longest wait of a message for the next one, to be swapped with it
_MESSAGE_PREFIX: Final = b'{"type":"message"'


class RandomTrigger:
    """Fires for one delivery in `every` on average, at random distances of up to twice that; or only once."""

    def __init__(self, source: random.Random, every: int, *, once: bool) -> None:
        self._source = source
        self._every = every or (_ONCE_PER_DELIVERIES if once else 0)
        self._once = once and not every
        self._left = self._draw()

    def fires(self) -> bool:
        self._left -= 1
        if self._left:
            return False
        self._left = 0 if self._once else self._draw()
        return True

    def _draw(self) -> int:
        return self._source.randrange(1, 2 * self._every) if self._every else 0


class InjectedFaults:
    """The faults to inject into all deliveries, and those injected so far."""

    def __init__(self, plan: argparse.Namespace) -> None:
        source = random.Random(plan.seed)
        self.drop = RandomTrigger(source, plan.drop, once=plan.drop_once)
        self.repeat = RandomTrigger(source, plan.repeat, once=plan.repeat_once)
        self.swap = RandomTrigger(source, plan.swap, once=plan.swap_once)
        self.delay = RandomTrigger(source, plan.delay, once=False)
        self.delay_seconds: float = plan.delay_ms / 1e3
        self.counts = Counter[str](connections=0, deliveries=0, dropped=0, repeated=0, swapped=0, delayed=0)
        self.done: list[dict[str, Any]] = []

    def record(self, what: str, line: bytes) -> None:
        self.counts[what] += 1
        if len(self.done) < _FAULTS_LISTED:
            frame = json.loads(line)
            self.done.append({"what": what, "room": frame["room"], "seq": frame["seq"]})


def is_delivery(line: bytes) -> bool:
    """Return whether the line is a delivery; an `again` answer to a repeated `ref` is not one."""
    if not line.startswith(_MESSAGE_PREFIX) and json.loads(line).get("type") != "message":
        return False
    return b'"again":true' not in line  # quotes within a text are escaped


class DeliveryQueue:
    """Lines for one client with their due times, in order of arrival except for swaps."""

    def __init__(self, faults: InjectedFaults) -> None:
        self._faults = faults
        self._partial = b""
        self._swap_waiting: tuple[float, bytes] | None = None  # (deadline, line) that waits for the next one
        self._due = 0.0
        self._queue: deque[tuple[float, bytes]] = deque()
        self.size = 0

    def add_bytes(self, data: bytes, now: float) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._add_line(line + b"\n", now)

    def next_due(self) -> float | None:
        """Return the earliest due time; None if the queue is empty."""
        due = [] if self._swap_waiting is None else [self._swap_waiting[0]]
        if self._queue:
            due.append(self._queue[0][0])
        return min(due) if due else None

    def pop_due(self, now: float) -> bytes:
        """Return the bytes that are due."""
        if (
            self._swap_waiting is not None and self._swap_waiting[0] <= now
        ):  # no further line came: deliver it in its place
            line, self._swap_waiting = self._swap_waiting[1], None
            self._enqueue(line, now)
        ready = []
        while self._queue and self._queue[0][0] <= now:
            ready.append(self._queue.popleft()[1])
        data = b"".join(ready)
        self.size -= len(data)
        return data

    def pop_all(self) -> bytes:
        """Return everything, since the server has closed the connection."""
        last = b"" if self._swap_waiting is None else self._swap_waiting[1]
        data = b"".join(line for _, line in self._queue) + last + self._partial
        self._queue.clear()
        self._swap_waiting = None
        self._partial = b""
        self.size = 0
        return data

    def _add_line(self, line: bytes, now: float) -> None:
        faults = self._faults
        if not is_delivery(line):
            self._enqueue(line, now)
            return
        faults.counts["deliveries"] += 1
        if self._swap_waiting is not None and _room(self._swap_waiting[1]) == _room(line):
            held, self._swap_waiting = self._swap_waiting[1], None
            self._enqueue(line, now)
            self._enqueue(held, now)
            faults.record("swapped", held)
        elif faults.drop.fires():
            faults.record("dropped", line)
        elif faults.repeat.fires():
            self._enqueue(line + line, now)
            faults.record("repeated", line)
        elif self._swap_waiting is None and faults.swap.fires():
            self._swap_waiting = now + _SWAP_WAIT_S, line
        elif faults.delay.fires():
            self._due = max(self._due, now + faults.delay_seconds)
            self._enqueue(line, now)
            faults.record("delayed", line)
        else:
            self._enqueue(line, now)

    def _enqueue(self, line: bytes, now: float) -> None:
        self._due = max(self._due, now)
        self._queue.append((self._due, line))
        self.size += len(line)


def _room(line: bytes) -> str:
    room: str = json.loads(line)["room"]
    return room


class Endpoint:
    """One end of a proxied connection: a socket and its unsent bytes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.unsent = b""
        self.at_eof = False  # its peer has closed its sending side
        self.watched_events = 0

    def write(self, data: bytes) -> None:
        if self.unsent or not data:
            self.unsent += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = data[sent:]


class ProxiedConnection:
    """A client's connection, and the proxy's connection to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket, faults: InjectedFaults) -> None:
        self.client = Endpoint(client)
        self.server = Endpoint(server)
        self.deliveries = DeliveryQueue(faults)
        self.timer_due: float | None = None
        self.closed = False


class LyingProxy:
    """Listens on a loopback port and relays each connection to the server's port."""

    def __init__(self, listen: int, to: int, faults: InjectedFaults) -> None:
        self._to = to
        self._faults = faults
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, ProxiedConnection]] = []
        self._timer_sequence = 0
        self._listening = socket.create_server(("127.0.0.1", listen), backlog=1024)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self.port: int = self._listening.getsockname()[1]
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            pause = 0.1 if not self._timers else min(0.1, max(0.0, self._timers[0][0] - time.monotonic()))
            for key, events in self._selector.select(pause):
                if key.data is None:
                    self._accept()
                else:
                    self._serve(key.data, key.fileobj, events)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                link = heapq.heappop(self._timers)[2]
                link.timer_due = None
                self._serve(link, None, 0)
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._close(key.data)
        self._listening.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listening.accept()
        except BlockingIOError:
            return
        server = socket.socket()
        try:
            server.connect(("127.0.0.1", self._to))
        except OSError:  # the server is down
            server.close()
            client.close()
            return
        self._faults.counts["connections"] += 1
        self._watch(ProxiedConnection(client, server, self._faults))

    def _serve(self, link: ProxiedConnection, sock: object, events: int) -> None:
        if link.closed:
            return
        try:
            if events & selectors.EVENT_READ:
                self._read(link, link.client if sock is link.client.sock else link.server)
            self._write(link)
        except BlockingIOError:
            pass  # not ready any more
        except OSError:  # one end was reset: reset the other
            self._close(link, reset=True)
            return
        if link.server.at_eof and not link.client.unsent:
            self._close(link)
        else:
            self._watch(link)

    def _read(self, link: ProxiedConnection, end: Endpoint) -> None:
        data = end.sock.recv(_READ_BYTES)
        if end is link.client:
            end.at_eof = not data
            link.server.write(data)
        elif data:
            link.deliveries.add_bytes(data, time.monotonic())
        else:
            end.at_eof = True
            link.client.write(link.deliveries.pop_all())

    def _write(self, link: ProxiedConnection) -> None:
        for end in (link.client, link.server):
            if end.unsent:
                data, end.unsent = end.unsent, b""
                end.write(data)
        if not link.client.unsent:
            link.client.write(link.deliveries.pop_due(time.monotonic()))
        if link.client.at_eof and not link.server.unsent:
            with contextlib.suppress(OSError):  # already shut down, or the server is gone
                link.server.sock.shutdown(socket.SHUT_WR)

    def _watch(self, link: ProxiedConnection) -> None:
        full = len(link.client.unsent) + link.deliveries.size > _BUFFERED_BYTES
        for end, reads in (
            (link.client, not link.client.at_eof and len(link.server.unsent) <= _BUFFERED_BYTES),
            (link.server, not link.server.at_eof and not full),
        ):
            wanted = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * bool(end.unsent)
            if wanted == end.watched_events:
                continue
            if not end.watched_events:
                self._selector.register(end.sock, wanted, link)
            elif wanted:
                self._selector.modify(end.sock, wanted, link)
            else:
                self._selector.unregister(end.sock)
            end.watched_events = wanted
        timer_due = None if link.client.unsent else link.deliveries.next_due()
        if timer_due is not None and (link.timer_due is None or timer_due < link.timer_due):
            link.timer_due = timer_due
            self._timer_sequence += 1
            heapq.heappush(self._timers, (timer_due, self._timer_sequence, link))

    def _close(self, link: ProxiedConnection, *, reset: bool = False) -> None:
        link.closed = True
        for end in (link.client, link.server):
            if end.watched_events:
                self._selector.unregister(end.sock)
                end.watched_events = 0
            if reset:
                with contextlib.suppress(OSError):
                    end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            end.sock.close()


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, default=0, help="port to listen on; 0: any, see stderr")
    parser.add_argument("--to", type=int, required=True, help="the server's port")
    parser.add_argument("--seed", type=int, default=1)
    for what in ("drop", "repeat", "swap"):
        parser.add_argument(f"--{what}", type=int, default=0, metavar="N", help=f"{what} one delivery in N")
        parser.add_argument(f"--{what}-once", action="store_true", help=f"{what} one of the first 100")
    parser.add_argument("--delay", type=int, default=0, metavar="N", help="delay one delivery in N")
    parser.add_argument(
        "--delay-ms",
        type=float,
        default=200.0,
        help="delay of a message and of what follows on its connection",
    )
    return parser.parse_args(arguments)


def main() -> None:
    plan = options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    faults = InjectedFaults(plan)
    proxy = LyingProxy(plan.listen, plan.to, faults)

    def stop(*_: object) -> None:
        proxy.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"listening on 127.0.0.1:{proxy.port}", file=sys.stderr, flush=True)
    proxy.run()
    print(json.dumps({**faults.counts, "seed": plan.seed, "done": faults.done}), flush=True)


if __name__ == "__main__":
    main()
