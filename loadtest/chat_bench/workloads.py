"""The workloads, each on a fresh server: what is sent, what is counted, when the CPU clock is read."""

import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from chat_bench.client_pool import RECEIVE_TIMEOUT_S, ClientPool
from chat_bench.peers.protocols import MARK, OTHER_MARK, ROOM, WireProtocol, text_with
from chat_bench.process import BenchError, Server

HALL: Final = "hall"
WARM_UP_SHARE: Final = 0.25
"""Length of the unmeasured warm-up, as a share of the measured time."""


class Sample(Struct, frozen=True):
    """One measurement: the server's CPU time and wall time in seconds, number of units, bytes received."""

    cpu: float
    wall: float
    units: int
    received: int = 0

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's CPU per unit."""
        return self.cpu / self.units * 1e6

    @property
    def rate(self) -> float:
        """Units per second of wall time."""
        return self.units / self.wall

    @property
    def size(self) -> float:
        """Bytes received per unit."""
        return self.received / self.units


class Idle(Struct, frozen=True):
    """Idle connections: their log-ins, and the server's memory before and after, in bytes."""

    logins: Sample
    rss_before: int
    rss_after: int

    @property
    def rss_kib(self) -> float:
        """KiB per connection."""
        return (self.rss_after - self.rss_before) / self.logins.units / 1024


def measured(
    server: Server, seconds: float, settle: float, work: Callable[[float], tuple[int, int]]
) -> Sample:
    """Run `work(seconds)` after a warm-up; it returns (units, bytes).

    `settle`: the CPU time of so many seconds after the last message counts, too, for servers that defer work.
    """
    work(seconds * WARM_UP_SHARE)
    cpu = server.cpu()
    start = time.monotonic()
    units, received = work(seconds)
    wall = time.monotonic() - start
    time.sleep(settle)
    return Sample(cpu=server.cpu() - cpu, wall=wall, units=units, received=received)


class FanOut:
    """One publisher, many receivers: the next messages are sent when all receivers have all previous ones."""

    def __init__(self, pool: ClientPool, protocol: WireProtocol, receivers: int) -> None:
        logins = (protocol.login(f"r{number}", ROOM) for number in range(receivers))
        pool.open(logins, protocol.logged_in(ROOM))
        login = protocol.publisher_login("publisher", ROOM)
        self._publisher = pool.open([login], protocol.logged_in())[0]
        self._pool = pool
        self._protocol = protocol
        self._receivers = receivers
        self._receive = {fd: sock.recv_into for fd, sock in pool.sockets.items()}
        self._message = protocol.publish(ROOM, text_with(MARK))

    def run(self, seconds: float, in_flight: int) -> tuple[int, int]:
        """Publish for `seconds`, at least once; return (deliveries to receivers, bytes)."""
        # The publisher's own echo is awaited, as its acknowledgement, but does not count as a delivery.
        due = in_flight * (self._receivers + self._protocol.echoes)
        send = self._pool.sockets[self._publisher].send
        burst = self._message * in_flight
        deliveries = received = 0
        end = time.monotonic() + seconds
        while not deliveries or time.monotonic() < end:
            if send(burst) != len(burst):
                raise BenchError("the publisher's socket is full")
            received += self._collect(due)
            deliveries += in_flight * self._receivers
        return deliveries, received

    def _collect(self, due: int) -> int:
        """Read until `due` marks have come; return the number of bytes."""
        pool = self._pool
        buffer = pool.buffer
        count = buffer.count
        poll = pool.epoll.poll
        receive = self._receive
        received = 0
        while due > 0:
            events = poll(RECEIVE_TIMEOUT_S)
            if not events:
                raise BenchError(f"{due} deliveries are missing")
            for fd, _ in events:
                size = receive[fd](buffer)
                received += size
                marks = count(MARK, 0, size)
                if marks:
                    due -= marks
                else:
                    reply_to_other(pool, self._protocol, fd, size)
        if due:
            raise BenchError(f"{-due} deliveries too many")
        return received


class Pairs:
    """Clients in pairs: each sends its next message when its partner's last one has arrived."""

    def __init__(self, pool: ClientPool, protocol: WireProtocol, clients: int) -> None:
        logins = (protocol.login(f"u{number}") for number in range(clients))
        opened = pool.open(logins, protocol.logged_in())
        self._pool = pool
        self._protocol = protocol
        self._clients = {}
        marks = (MARK, OTHER_MARK)
        for number, fd in enumerate(opened):
            sock = pool.sockets[fd]
            frame = protocol.direct(f"u{number ^ 1}", text_with(marks[number & 1]), f"u{number}")
            self._clients[fd] = (sock.recv_into, sock.send, marks[number & 1 ^ 1], frame)

    def run(self, seconds: float) -> tuple[int, int]:
        """Send for `seconds`; return (messages received by the partners, bytes)."""
        pool = self._pool
        clients = self._clients
        buffer = pool.buffer
        count = buffer.count
        poll = pool.epoll.poll
        acknowledges, acknowledgements = self._protocol.acknowledges, self._protocol.acknowledgements
        for _, send, _, frame in clients.values():
            send(frame)
        under_way = len(clients)
        messages = received = 0
        end = time.monotonic() + seconds
        sending = True
        while under_way:
            events = poll(RECEIVE_TIMEOUT_S)
            if not events:
                raise BenchError(f"{under_way} messages are missing")
            sending = sending and time.monotonic() < end
            for fd, _ in events:
                receive, send, mark, frame = clients[fd]
                size = receive(buffer)
                received += size
                if acknowledges:
                    answers = acknowledgements(bytes(memoryview(buffer)[:size]))
                    arrived = len(answers)
                    for answer in answers:
                        send(answer)
                else:
                    arrived = count(mark, 0, size)
                if arrived:  # Two, if the partner's next message came before its last was read.
                    messages += arrived
                    if sending:
                        send(frame * arrived)
                    else:
                        under_way -= arrived
                else:
                    reply_to_other(pool, self._protocol, fd, size)
        return messages, received


def log_in(
    server: Server, pool: ClientPool, protocol: WireProtocol, clients: int
) -> tuple[Sample, list[int]]:
    """Log clients in by name; return the measurement and their descriptors."""
    cpu = server.cpu()
    start = time.monotonic()
    opened = pool.open((protocol.login(f"u{number}") for number in range(clients)), protocol.logged_in())
    wall = time.monotonic() - start
    return Sample(cpu=server.cpu() - cpu, wall=wall, units=clients), opened


def join(
    server: Server, pool: ClientPool, protocol: WireProtocol, members: list[int], settle: float
) -> Sample:
    """Let all join one room; presence events of the following `settle` seconds count, too."""
    cpu = server.cpu()
    start = time.monotonic()
    pool.ask(members, protocol.join(HALL), protocol.joined(HALL))
    wall = time.monotonic() - start
    pool.idle(settle)
    return Sample(cpu=server.cpu() - cpu, wall=wall, units=len(members))


def reply_to_other(pool: ClientPool, protocol: WireProtocol, fd: int, size: int) -> None:
    """Reply to input that is not a message, if needed. Raises `BenchError` at the end of the stream."""
    if not size:
        raise BenchError("the server closed a connection")
    reply = protocol.answer(bytes(memoryview(pool.buffer)[:size]))
    if reply:
        pool.sockets[fd].send(reply)
