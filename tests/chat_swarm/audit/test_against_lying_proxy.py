"""The lying proxy injects exactly the faults that it reports."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fakes.injected_faults import DeliveryQueue, InjectedFaults
from support.fakes.lying_proxy import Endpoint, options

TESTS = Path(__file__).parents[2]
WAIT_S = 20.0
UNFINISHED = b'{"type":"bye'
FaultList = list[dict[str, Any]]


def message(seq: int, room: str = "hall", **fields: object) -> bytes:
    frame = {"type": "message", "room": room, "seq": seq, "message": '"again":true', **fields}
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


def lies(*arguments: str) -> InjectedFaults:
    return InjectedFaults(options(["--to", "1", *arguments]))


def seqs(data: bytes, room: str = "hall") -> list[int]:
    frames = [json.loads(line) for line in data.splitlines()]
    return [frame["seq"] for frame in frames if frame.get("room") == room]


def done(faults: FaultList, what: str) -> list[int]:
    return [one["seq"] for one in faults if one["what"] == what]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(0, 10**6))
def test_proxy_without_faults_passes_all_bytes_unchanged(cuts: list[int], seed: int) -> None:
    feed = DeliveryQueue(lies("--seed", str(seed)))
    stream = b"".join(message(seq) + b'{"type":"pong"}\n' for seq in range(20)) + b'{"type'
    given_out, left = b"", stream
    for cut in cuts:
        feed.add_bytes(left[:cut], 1.0)
        left = left[cut:]
        given_out += feed.pop_due(1.0)
    feed.add_bytes(left, 1.0)
    assert given_out + feed.pop_all() == stream
    assert feed.size == 0


@given(st.integers(0, 10**6))
def test_proxy_reports_exactly_the_faults_it_made(seed: int) -> None:
    injected = lies("--seed", str(seed), "--drop", "30", "--repeat", "30", "--swap", "30")
    feed = DeliveryQueue(injected)
    got = b""
    for seq in range(1, 301):
        feed.add_bytes(message(seq) + message(seq, "den", again=True), 1.0)
        got += feed.pop_due(1.0)
    got = got + feed.pop_all()
    expected = [seq for seq in range(1, 301) if seq not in done(injected.done, "dropped")]
    for seq in done(injected.done, "swapped"):
        place = expected.index(seq)
        expected.insert(place + 1, expected.pop(place))
    for seq in done(injected.done, "repeated"):
        expected.insert(expected.index(seq), seq)
    assert seqs(got) == expected
    assert seqs(got, "den") == list(range(1, 301))
    assert injected.counts["deliveries"] == 300
    assert {one["what"] for one in injected.done} == {"dropped", "repeated", "swapped"}
    assert all(
        injected.counts[what] == len(done(injected.done, what)) for what in ("dropped", "repeated", "swapped")
    )


def test_proxy_delay_holds_the_following_messages_too() -> None:
    injected = lies("--delay", "20", "--delay-ms", "200")
    feed = DeliveryQueue(injected)
    first = 0
    for seq in range(1, 41):
        feed.add_bytes(message(seq), 1.0)
        first = first or (seq if injected.counts["delayed"] else 0)
    assert seqs(feed.pop_due(1.0)) == list(range(1, first))
    assert feed.next_due() == pytest.approx(1.2)
    assert seqs(feed.pop_due(1.1)) == []
    assert seqs(feed.pop_due(1.3)) == list(range(first, 41))
    assert feed.next_due() is None


def test_proxy_swap_without_a_next_message_times_out() -> None:
    injected = lies("--swap-once", "--seed", "2")
    feed = DeliveryQueue(injected)
    seq = 0
    while feed.next_due() is None:
        seq += 1
        feed.add_bytes(message(seq), 1.0)
        feed.pop_due(1.0)
    assert seq < 100
    feed.add_bytes(message(1, "den"), 1.0)
    assert seqs(feed.pop_due(1.5)) == []
    assert seqs(feed.pop_due(2.5)) == [seq]
    assert injected.counts["swapped"] == 0


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(WAIT_S)
        yield sock


def test_endpoint_sends_what_a_full_socket_left_over(listening: socket.socket) -> None:
    data = bytes(range(256)) * (1 << 17)  # 32 MiB: more than the kernel holds
    with socket.create_connection(listening.getsockname()) as sock, listening.accept()[0] as peer:
        end, got = Endpoint(sock), bytearray()
        end.write(data)
        assert end.unsent
        end.write(b"more")
        while len(got) < len(data) + 4:
            got += peer.recv(1 << 20)
            unsent, end.unsent = end.unsent, b""
            end.write(unsent)
    assert got == data + b"more"


def relay_traffic(process: subprocess.Popen[str], listening: socket.socket) -> tuple[str, bytes]:
    """Return the program's report at its end, and the bytes that a client got from a server through it."""
    assert process.stderr is not None
    where = process.stderr.readline().rpartition(":")[2]
    with socket.create_connection(("127.0.0.1", int(where)), timeout=WAIT_S) as client:
        server, _ = listening.accept()
        with server:
            server.settimeout(WAIT_S)

            # When both sides send and close
            client.sendall(b"hello\n")
            assert server.recv(100) == b"hello\n"
            server.sendall(b"".join(message(seq) for seq in range(1, 20_001)) + UNFINISHED)
            client.shutdown(socket.SHUT_WR)
            assert server.recv(100) == b""
        got = b""
        while data := client.recv(1 << 16):
            got += data
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=WAIT_S)
    return out, got


def test_proxy_program_relays_and_reports_its_faults(listening: socket.socket) -> None:
    # Given the program in front of a listening server
    port = listening.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "support.fakes.lying_proxy",
        "--to",
        str(port),
        "--drop-once",
        "--repeat-once",
    ]
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            out, got = relay_traffic(process, listening)
        finally:
            process.kill()

    # Then it reports exactly the missing and the repeated message
    assert got.endswith(UNFINISHED)
    got = got.removesuffix(UNFINISHED)
    counts = json.loads(out)
    (dropped,), (repeated,) = done(counts["done"], "dropped"), done(counts["done"], "repeated")
    assert sorted([*seqs(got), dropped]) == sorted([*range(1, 20_001), repeated])
    assert (counts["connections"], counts["deliveries"]) == (1, 20_000)
    assert process.returncode == 0
