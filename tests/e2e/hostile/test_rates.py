"""Rates: a client that waits as asked is served; one that does not gets no more than its share."""

from __future__ import annotations

import heapq
import select
import time
from typing import TYPE_CHECKING

import pytest

from e2e.hostile.test_floods import kinds
from support.processes.process import ServerProcess, eventually
from support.processes.server_counters import counted, wait_counted

if TYPE_CHECKING:
    from e2e.hostile.conftest import Served
    from support.processes.fixtures import Connect, Dial, StartServer
    from support.processes.peer import NdjsonPeer

RATES = ("--store", "memory", "--log-interval", "0.1", "--drain-timeout", "0.2")
SLOW_BYTES = (*RATES, "--rate-bytes", "40K", "--rate-bytes-burst", "20K")


def throttled(server: ServerProcess) -> int:
    return sum(line["throttled"] for line in server.entries("interval"))


def bytes_in(server: ServerProcess) -> int:
    return sum(line["bytes_in"] for line in server.entries("interval"))


class PacedSender:
    """Sends messages as docs/protocol.md says: so many unacknowledged, each again after its `retry_after`."""

    def __init__(self, peer: NdjsonPeer, count: int, in_flight: int) -> None:
        self._peer = peer
        self._new = iter(range(count))
        self._in_flight = in_flight
        self._again: list[tuple[float, int]] = []  # when to send which message again
        self.flying: set[int] = set()
        self.acknowledged: set[int] = set()
        self.refusals = 0

    def send_what_is_due(self) -> float:
        """Send; return the seconds until there is more to be sent again."""
        due = []
        while self._again and self._again[0][0] <= time.monotonic():
            due.append(heapq.heappop(self._again)[1])
        while len(self.flying) < self._in_flight and (number := next(self._new, None)) is not None:
            due.append(number)
            self.flying.add(number)
        frames = (b'{"type":"message","message":"m","ref":"%d"}\n' % number for number in due)
        self._peer.send(b"".join(frames))
        return max(0.0, self._again[0][0] - time.monotonic()) if self._again else 1.0

    def receive(self) -> None:
        """Take an answer."""
        frame = self._peer.next_frame()
        assert frame["type"] != "bye", frame
        if frame["type"] == "message":
            self.acknowledged.add(int(frame["ref"]))
            self.flying.discard(int(frame["ref"]))
        elif frame["type"] == "error":
            assert frame["code"] == "rate_limited"
            self.refusals += 1
            heapq.heappush(self._again, (time.monotonic() + frame["retry_after"], int(frame["ref"])))


@pytest.mark.parametrize("in_flight", [512, 1023])
def test_client_that_waits_its_time_is_served(
    start_server: StartServer, connect: Connect, in_flight: int
) -> None:
    # Given a client with hundreds of messages in flight, ten times as many as its burst
    count = 4000
    server = start_server(*RATES, "--rate-messages", "400", "--rate-messages-burst", "400")
    peer = connect(server, "eager")
    sender = PacedSender(peer, count, in_flight)
    while len(sender.acknowledged) < count:
        pause = sender.send_what_is_due()
        while b"\n" in peer._unread or select.select([peer.sock], [], [], pause)[0]:
            sender.receive()
            pause = 0.0

    # Then all are stored, it is not disconnected, and most were refused once at most
    assert sender.refusals <= 1.5 * count
    peer.send_frame("quit")
    peer.expect("bye", reason="quit")


def test_refused_messages_get_times_one_after_the_other(start_server: StartServer, connect: Connect) -> None:
    server = start_server(*RATES, "--rate-messages", "1", "--rate-messages-burst", "3")
    eve = connect(server, "eve")
    for number in range(52):
        eve.send_frame("message", message="m", ref=f"r{number}")
    waits = [eve.expect("error", code="rate_limited")["retry_after"] for _ in range(48)]
    assert waits == sorted(set(waits))
    assert waits[-1] > 40


def test_new_connections_bring_no_new_allowance(start_server: StartServer, connect: Connect) -> None:
    # Given twenty connections one after the other, each of which keeps to what a session may do
    server = start_server(*RATES, "--limit-loopback")
    good = connect(server, "good", rooms=["haven"])
    stored = refused = 0
    for _ in range(20):
        eve = connect(server, "eve", rooms=["pit"])
        eve.send(b'{"type":"message","room":"pit","message":"x"}\n' * 900 + b'{"type":"quit"}\n')
        lines = eve.read_to_end().splitlines()
        stored += sum(b'"type":"message"' in line for line in lines)
        refused += sum(b'"rate_limited"' in line for line in lines)

    # Then together they get what four sessions may do at once, and a little for the time it takes
    assert stored + refused == 20 * 900
    assert 3900 < stored < 9000
    wait_counted(server, "errors", "rate_limited", refused)

    # And a neighbour is served, once it has waited its time
    def say() -> bool:
        answer = good.ask("message", message="still here", room="haven")
        time.sleep(answer.get("retry_after", 0.0))
        return bool(answer["type"] == "message")

    eventually(say, "a message of a neighbour")


@pytest.mark.parametrize(
    ("first", "flood"),
    [
        (b'{"type":"hello","username":"eve"}\n', b'{"type":"pong","id":"unasked"}\n'),
        (b'{"type":"hello","username":"eve"}\n', b"\n"),
        (b'{"username":"eve","message":""}', b" \n"),
        (b"\n/help\n", b"\r\n"),
        (b'{"type":"pong","id":"x"}\n', b"\n"),
        (b"", b"\n"),
    ],
    ids=["pongs", "empty-lines", "two-field", "plain-text", "no-name", "no-dialect"],
)
def test_bytes_that_make_no_command_are_read_at_their_rate(
    start_server: StartServer, connect: Connect, dial: Dial, first: bytes, flood: bytes
) -> None:
    # Given a peer that sends as fast as it can what is no command
    server = start_server(*SLOW_BYTES)
    good = connect(server, "good")
    began_at = time.monotonic()
    eve = dial(server)
    eve.send(first)
    eve.sock.setblocking(False)
    while throttled(server) < 4:
        try:
            eve.sock.send(flood * 1000)
        except BlockingIOError:
            select.select([], [eve.sock], [], 0.05)
    # Then it is read at its rate: what it has saved up, half a second of debt, and one read of 16 KiB
    elapsed = time.monotonic() - began_at
    assert bytes_in(server) <= 20 * 1024 + 40 * 1024 * (elapsed + 0.5) + 16 * 1024 + 8 * 1024
    good.say("still served")
    assert counted(server, "closed", "timeout") == 0


def test_peer_that_is_not_read_is_not_found_silent(start_server: StartServer, connect: Connect) -> None:
    # Given a client that answers pings, behind so many bytes that the answers are read late
    server = start_server(*SLOW_BYTES, "--ping-interval", "0.3")
    eve = connect(server, "eve")
    eve.send(b"\n" * 150_000)
    eve.send_frame("message", message="behind all that", ref="late")
    while (frame := eve.next_frame()).get("ref") != "late":
        assert frame["type"] in {"ping", "presence"}, frame
        if frame["type"] == "ping":
            eve.send_frame("pong", id=frame["id"])
    assert throttled(server) >= 1


def test_server_stops_while_peers_are_not_read(start_server: StartServer, connect: Connect) -> None:
    server = start_server(*SLOW_BYTES, "--drain-timeout", "1")
    eves = [connect(server, "eve") for _ in range(5)]
    for eve in eves:
        eve.send(b"\n" * 200_000)
    eventually(lambda: throttled(server) >= 5, "five peers that are not read")
    assert server.stop() == 0
    assert counted(server, "closed", "shutdown") == 5


def test_hellos_with_a_hundred_rooms_delay_nobody(
    fort: ServerProcess, connect: Connect, served: Served
) -> None:
    # Given twenty hellos that resume, each with a hundred room names that are dear to compare
    held = [connect(fort).hello("eve", resumable=True, rooms=[]) for _ in range(20)]
    waiting = [connect(fort) for _ in held]
    for number, (welcome, peer) in enumerate(zip(held, waiting, strict=True)):
        rooms = {f"ж{number}ы{one}й\u0301\u0302\u0300" + "яѩѭ" * 3: 0 for one in range(100)}
        resume = {"session": welcome["session"], "epoch": welcome["epoch"], "rooms": rooms}
        peer.send_frame("hello", username="x", resume=resume)
    served()
    for peer in waiting:
        assert len(peer.expect("welcome")["rooms"]) == 100


def test_dear_answers_are_charged(start_server: StartServer, connect: Connect) -> None:
    # Given a room with a page of long messages, and a client that reads it again and again
    server = start_server(*RATES)
    eve = connect(server, "eve")
    for _ in range(7):
        eve.say("x" * 8000)
    eve.send(b'{"type":"history","room":"lobby","limit":500}\n' * 200)

    # Then it gets what its tokens are worth: a page of 56 KB costs as much as fifteen messages
    answers = kinds(eve)
    assert 50 < answers["history"] < 100
    assert answers["rate_limited"] + answers["history"] == 200
