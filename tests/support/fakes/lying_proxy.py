"""A liar between the swarm and an honest server: it drops, repeats, swaps and delays deliveries.

A program: `python -m support.fakes.lying_proxy --listen PORT --to PORT --drop 10000 --repeat-once --delay 50
--delay-ms 200`. It says on stderr where it listens, and at SIGTERM on stdout, as JSON, what it did.
Knows `message` lines from other lines and nothing more of the protocol. One thread, which waits for nobody.
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
_BUFFERED_BYTES: Final = 1 << 20  # bytes that wait for a client before the server's are left in the kernel
_LINGER_RESET: Final = struct.pack("ii", 1, 0)
_FAULTS_LISTED: Final = 1_000  # faults that are told one by one
_ONCE_PER_DELIVERIES: Final = (
    50  # what happens once, happens at one of so many deliveries, twice as many at most
)
_SWAP_WAIT_S: Final = 1.0  # how long a message waits for the next, to be swapped with it
_MESSAGE_PREFIX: Final = b'{"type":"message"'


class RandomTrigger:
    """Strikes one delivery in `every` on average, at random distances of at most twice that; or but one."""

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
    """What is done to all deliveries together, and a list of it."""

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
    """Return whether the line is a message in its place; an answer to a message sent again is none."""
    if not line.startswith(_MESSAGE_PREFIX) and json.loads(line).get("type") != "message":
        return False
    return b'"again":true' not in line  # quotes within a text are escaped


class DeliveryQueue:
    """What one client is to get, and when: in the order in which it came, but for what is swapped."""

    def __init__(self, faults: InjectedFaults) -> None:
        self._faults = faults
        self._partial = b""
        self._swap_waiting: tuple[float, bytes] | None = None  # until when it waits for its neighbour
        self._due = 0.0
        self._queue: deque[tuple[float, bytes]] = deque()
        self.size = 0

    def add_bytes(self, data: bytes, now: float) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._add_line(line + b"\n", now)

    def next_due(self) -> float | None:
        """Return when there is something to give."""
        due = [] if self._swap_waiting is None else [self._swap_waiting[0]]
        if self._queue:
            due.append(self._queue[0][0])
        return min(due) if due else None

    def pop_due(self, now: float) -> bytes:
        """Return what is due."""
        if (
            self._swap_waiting is not None and self._swap_waiting[0] <= now
        ):  # nothing more came: let it go in its place
            line, self._swap_waiting = self._swap_waiting[1], None
            self._enqueue(line, now)
        ready = []
        while self._queue and self._queue[0][0] <= now:
            ready.append(self._queue.popleft()[1])
        data = b"".join(ready)
        self.size -= len(data)
        return data

    def pop_all(self) -> bytes:
        """Return all there is, as the server has ended."""
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
    """One end of a link: a socket, and what waits to be written to it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.unsent = b""
        self.at_eof = False  # it sends no more
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
    """A client, and our connection to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket, faults: InjectedFaults) -> None:
        self.client = Endpoint(client)
        self.server = Endpoint(server)
        self.deliveries = DeliveryQueue(faults)
        self.timer_due: float | None = None
        self.closed = False


class LyingProxy:
    """Listens on a port of the loopback; all connections go on to another."""

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
        except OSError:  # the server is down: so is the way to it
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
            pass  # it was no longer ready
        except OSError:  # one was cut: so is the other
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
            with contextlib.suppress(OSError):  # it has been done, or the server is gone
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
    parser.add_argument("--listen", type=int, default=0, help="port; 0: any, see stderr")
    parser.add_argument("--to", type=int, required=True, help="the server's port")
    parser.add_argument("--seed", type=int, default=1)
    for what in ("drop", "repeat", "swap"):
        parser.add_argument(f"--{what}", type=int, default=0, metavar="N", help=f"{what} one delivery in N")
        parser.add_argument(f"--{what}-once", action="store_true", help=f"{what} one of the first 100")
    parser.add_argument("--delay", type=int, default=0, metavar="N", help="delay one delivery in N")
    parser.add_argument("--delay-ms", type=float, default=200.0, help="by this, and what follows on its wire")
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
