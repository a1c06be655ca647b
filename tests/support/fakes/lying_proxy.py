"""A TCP proxy that falsifies deliveries on the way from a server to the swarm, or holds them back.

A program: `python -m support.fakes.lying_proxy --listen PORT --to PORT --drop 10000 --repeat-once --delay 50
--delay-ms 200 --alter text`. It writes its port to stderr, and at SIGTERM its report to stdout, as JSON.
Of the protocol it knows only `message` lines, and whose echo one is (`--altered-for`). One thread; sockets
are non-blocking.
"""

import argparse
import contextlib
import heapq
import json
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Final

from support.fakes.injected_faults import ALTERATIONS, DeliveryQueue, InjectedFaults

_READ_BYTES: Final = 1 << 16
_BUFFERED_BYTES: Final = 1 << 20  # buffered for a client before reading from the server stops
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


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

    def __init__(
        self, client: socket.socket, server: socket.socket, faults: InjectedFaults, address: str
    ) -> None:
        self.client = Endpoint(client)
        self.server = Endpoint(server)
        self.deliveries = DeliveryQueue(faults, address)
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
            self._stall()
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

    def _stall(self) -> None:
        """Relay nothing at all, both ways, while the connections are frozen."""
        self._faults.freeze(time.monotonic())
        while not self.stopping and (left := self._faults.frozen_until - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def _accept(self) -> None:
        try:
            client, peer = self._listening.accept()
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
        self._watch(ProxiedConnection(client, server, self._faults, peer[0]))

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
    parser.add_argument("--alter", choices=tuple(ALTERATIONS), default="", help="alter one of the first 100")
    parser.add_argument(
        "--altered-for",
        choices=("any", "sender", "other", "second", "all"),
        default="any",
        help="whose delivery is altered: of one receiver, its sender, one that is not its sender; or all of"
        " one seq to the receivers at 127.0.0.2, or to all",
    )
    parser.add_argument(
        "--freeze-ms", type=float, default=0.0, help="stall all connections once, for so long"
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
