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

_PIECE: Final = 1 << 16
_HELD: Final = 1 << 20  # bytes that wait for a client before the server's are left in the kernel
_RESET: Final = struct.pack("ii", 1, 0)
_TOLD: Final = 1_000  # faults that are told one by one
_ONCE: Final = 50  # what happens once, happens at one of so many deliveries, twice as many at most
_SWAP_SECONDS: Final = 1.0  # how long a message waits for the next, to be swapped with it
_START: Final = b'{"type":"message"'


class Chance:
    """Strikes one delivery in `every` on average, at random distances of at most twice that; or but one."""

    def __init__(self, source: random.Random, every: int, *, once: bool) -> None:
        self._source = source
        self._every = every or (_ONCE if once else 0)
        self._once = once and not every
        self._left = self._draw()

    def strikes(self) -> bool:
        self._left -= 1
        if self._left:
            return False
        self._left = 0 if self._once else self._draw()
        return True

    def _draw(self) -> int:
        return self._source.randrange(1, 2 * self._every) if self._every else 0


class Lies:
    """What is done to all deliveries together, and a list of it."""

    def __init__(self, plan: argparse.Namespace) -> None:
        source = random.Random(plan.seed)
        self.drop = Chance(source, plan.drop, once=plan.drop_once)
        self.repeat = Chance(source, plan.repeat, once=plan.repeat_once)
        self.swap = Chance(source, plan.swap, once=plan.swap_once)
        self.delay = Chance(source, plan.delay, once=False)
        self.delay_seconds: float = plan.delay_ms / 1e3
        self.counts = Counter[str](connections=0, deliveries=0, dropped=0, repeated=0, swapped=0, delayed=0)
        self.done: list[dict[str, Any]] = []

    def did(self, what: str, line: bytes) -> None:
        self.counts[what] += 1
        if len(self.done) < _TOLD:
            frame = json.loads(line)
            self.done.append({"what": what, "room": frame["room"], "seq": frame["seq"]})


def is_delivery(line: bytes) -> bool:
    """Return whether the line is a message in its place; an answer to a message sent again is none."""
    if not line.startswith(_START) and json.loads(line).get("type") != "message":
        return False
    return b'"again":true' not in line  # quotes within a text are escaped


class Feed:
    """What one client is to get, and when: in the order in which it came, but for what is swapped."""

    def __init__(self, lies: Lies) -> None:
        self._lies = lies
        self._partial = b""
        self._held: tuple[float, bytes] | None = None  # until when it waits for its neighbour
        self._due = 0.0
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.size = 0

    def take(self, data: bytes, now: float) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line + b"\n", now)

    def wakes(self) -> float | None:
        """Return when there is something to give."""
        due = [] if self._held is None else [self._held[0]]
        if self._waiting:
            due.append(self._waiting[0][0])
        return min(due) if due else None

    def give(self, now: float) -> bytes:
        """Return what is due."""
        if self._held is not None and self._held[0] <= now:  # nothing more came: let it go in its place
            line, self._held = self._held[1], None
            self._put(line, now)
        ready = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(self._waiting.popleft()[1])
        data = b"".join(ready)
        self.size -= len(data)
        return data

    def rest(self) -> bytes:
        """Return all there is, as the server has ended."""
        last = b"" if self._held is None else self._held[1]
        data = b"".join(line for _, line in self._waiting) + last + self._partial
        self._waiting.clear()
        self._held = None
        self._partial = b""
        self.size = 0
        return data

    def _line(self, line: bytes, now: float) -> None:
        lies = self._lies
        if not is_delivery(line):
            self._put(line, now)
            return
        lies.counts["deliveries"] += 1
        if self._held is not None and _room(self._held[1]) == _room(line):
            held, self._held = self._held[1], None
            self._put(line, now)
            self._put(held, now)
            lies.did("swapped", held)
        elif lies.drop.strikes():
            lies.did("dropped", line)
        elif lies.repeat.strikes():
            self._put(line + line, now)
            lies.did("repeated", line)
        elif self._held is None and lies.swap.strikes():
            self._held = now + _SWAP_SECONDS, line
        elif lies.delay.strikes():
            self._due = max(self._due, now + lies.delay_seconds)
            self._put(line, now)
            lies.did("delayed", line)
        else:
            self._put(line, now)

    def _put(self, line: bytes, now: float) -> None:
        self._due = max(self._due, now)
        self._waiting.append((self._due, line))
        self.size += len(line)


def _room(line: bytes) -> str:
    room: str = json.loads(line)["room"]
    return room


class End:
    """One end of a link: a socket, and what waits to be written to it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.unsent = b""
        self.ended = False  # it sends no more
        self.watched = 0

    def write(self, data: bytes) -> None:
        if self.unsent or not data:
            self.unsent += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = data[sent:]


class Link:
    """A client, and our connection to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket, lies: Lies) -> None:
        self.client = End(client)
        self.server = End(server)
        self.feed = Feed(lies)
        self.wakes: float | None = None
        self.closed = False


class Faulty:
    """Listens on a port of the loopback; all connections go on to another."""

    def __init__(self, listen: int, to: int, lies: Lies) -> None:
        self._to = to
        self._lies = lies
        self._selector = selectors.DefaultSelector()
        self._alarms: list[tuple[float, int, Link]] = []
        self._serial = 0
        self._listening = socket.create_server(("127.0.0.1", listen), backlog=1024)
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self.port: int = self._listening.getsockname()[1]
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            pause = 0.1 if not self._alarms else min(0.1, max(0.0, self._alarms[0][0] - time.monotonic()))
            for key, events in self._selector.select(pause):
                if key.data is None:
                    self._accept()
                else:
                    self._turn(key.data, key.fileobj, events)
            now = time.monotonic()
            while self._alarms and self._alarms[0][0] <= now:
                link = heapq.heappop(self._alarms)[2]
                link.wakes = None
                self._turn(link, None, 0)
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
        self._lies.counts["connections"] += 1
        self._watch(Link(client, server, self._lies))

    def _turn(self, link: Link, sock: object, events: int) -> None:
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
        if link.server.ended and not link.client.unsent:
            self._close(link)
        else:
            self._watch(link)

    def _read(self, link: Link, end: End) -> None:
        data = end.sock.recv(_PIECE)
        if end is link.client:
            end.ended = not data
            link.server.write(data)
        elif data:
            link.feed.take(data, time.monotonic())
        else:
            end.ended = True
            link.client.write(link.feed.rest())

    def _write(self, link: Link) -> None:
        for end in (link.client, link.server):
            if end.unsent:
                data, end.unsent = end.unsent, b""
                end.write(data)
        if not link.client.unsent:
            link.client.write(link.feed.give(time.monotonic()))
        if link.client.ended and not link.server.unsent:
            with contextlib.suppress(OSError):  # it has been done, or the server is gone
                link.server.sock.shutdown(socket.SHUT_WR)

    def _watch(self, link: Link) -> None:
        full = len(link.client.unsent) + link.feed.size > _HELD
        for end, reads in (
            (link.client, not link.client.ended and len(link.server.unsent) <= _HELD),
            (link.server, not link.server.ended and not full),
        ):
            wanted = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * bool(end.unsent)
            if wanted == end.watched:
                continue
            if not end.watched:
                self._selector.register(end.sock, wanted, link)
            elif wanted:
                self._selector.modify(end.sock, wanted, link)
            else:
                self._selector.unregister(end.sock)
            end.watched = wanted
        wakes = None if link.client.unsent else link.feed.wakes()
        if wakes is not None and (link.wakes is None or wakes < link.wakes):
            link.wakes = wakes
            self._serial += 1
            heapq.heappush(self._alarms, (wakes, self._serial, link))

    def _close(self, link: Link, *, reset: bool = False) -> None:
        link.closed = True
        for end in (link.client, link.server):
            if end.watched:
                self._selector.unregister(end.sock)
                end.watched = 0
            if reset:
                with contextlib.suppress(OSError):
                    end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
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
    lies = Lies(plan)
    faulty = Faulty(plan.listen, plan.to, lies)

    def stop(*_: object) -> None:
        faulty.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"listening on 127.0.0.1:{faulty.port}", file=sys.stderr, flush=True)
    faulty.run()
    print(json.dumps({**lies.counts, "seed": plan.seed, "done": lies.done}), flush=True)


if __name__ == "__main__":
    main()
