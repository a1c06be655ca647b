"""Resets, half-open connections, and readers that do not read."""

import socket
import struct
from collections import Counter

import pytest

from e2e.hostile.conftest import Served
from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.process import TIMEOUT_S, ServerProcess, eventually
from support.processes.server_counters import counted, resident_bytes, wait_counted
from support.processes.wire import RawConnection

MIB = 1 << 20
HELLO = b'{"type":"hello","username":"eve-%d"}\n'


def reset(wire: RawConnection) -> None:
    """Close so that the other side gets a reset."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def ends(server: ServerProcess) -> list[tuple[str, dict[str, int]]]:
    """Return how connections have ended."""
    return [
        (field, dict(sum((Counter(line[field]) for line in server.entries("interval")), Counter())))
        for field in ("closed", "refused", "errors")
    ]


def test_a_storm_of_resets(fort: ServerProcess, dial: Dial, served: Served) -> None:
    # Given five hundred connections, half of them with a hello, that are reset
    def gone() -> int:
        return counted(fort, "closed", "reset") + counted(fort, "closed", "closed_by_peer")

    before, nameless = gone(), counted(fort, "refused", "reset")
    for first in range(0, 500, 50):
        wires = {number: dial(fort) for number in range(first, first + 50)}
        for number, wire in wires.items():
            if number % 4 == 1:
                wire.send(HELLO % number)
        with RawConnection(fort.port) as last:  # those before it have been accepted, and count
            last.send(b'{"type":"ping","id":"1"}\n')
            assert last.read_line()
        for number, wire in wires.items():
            if number % 4 == 1:
                wire.read_line()
            elif number % 4 == 3:
                wire.send(HELLO % number)
            reset(wire)
        served()

    # Then all are counted, and those with a name have left the room
    eventually(lambda: gone() - before >= 250, lambda: f"the end of those with a name; {ends(fort)}")
    wait_counted(fort, "refused", "reset", nameless + 250)
    with RawConnection(fort.port) as later:
        later.send(b'{"type":"hello","username":"later","rooms":["haven"]}\n{"type":"who"}\n')
        later.read_line()
        assert b"eve-" not in later.read_line()


def test_half_open_connections(fort: ServerProcess, dial: Dial, served: Served) -> None:
    # Given two hundred clients that half-close, in mid-line or at once, and read no more
    wires = [dial(fort) for _ in range(200)]
    for number, wire in enumerate(wires):
        wire.send((b"", b'{"type":"hel', HELLO % (1000 + number), b"hello there")[number % 4])
        wire.half_close()
    served()

    # Then the server closes its side of each
    for wire in wires:
        wire.read_to_end()


def test_readers_that_never_read_take_bounded_memory(start_server: StartServer, connect: Connect) -> None:
    # Given fifty clients that read nothing, and two that send
    flags = ("--rate-messages", "0", "--rate-bytes", "0", "--outbox-bytes", "64K", "--drain-timeout", "0.2")
    server = start_server(*flags)
    deaf = [connect(server, "deaf", wire={"receive_buffer": 4096}) for _ in range(50)]
    ann, bob = connect(server, "ann"), connect(server, "bob")
    before = resident_bytes(server)

    # When 16 MB are sent to each of them
    for number in range(2000):
        ann.send_frame("message", message="x" * 8000, ref=f"r{number}")
        for one in (ann, bob):
            one.expect("message", ref=f"r{number}")

    # Then their output is bounded in memory, and one that starts to read gets everything
    assert resident_bytes(server) - before < 50 * 2 * 64 * 1024 + 32 * MIB
    assert len(ann.ask("who")["users"]) == 52
    for number in range(500):
        assert deaf[0].expect("message")["seq"] == number + 1


def test_answers_that_nobody_reads(start_server: StartServer, connect: Connect) -> None:
    # Given a client that sends many commands and reads no answers
    server = start_server("--store", "memory", "--rate-messages", "0", "--rate-bytes", "0")
    good, eve = connect(server, "good"), connect(server, "eve", wire={"receive_buffer": 4096})
    before = resident_bytes(server)
    pings = (b'{"type":"ping","id":"' + b"x" * 60 + b'"}\n') * 1000
    eve.sock.settimeout(0.5)

    def flood() -> None:
        for _ in range(1000):
            eve.send(pings)
            good.say("served")

    with pytest.raises(TimeoutError):
        flood()

    # Then the server stops reading from it; when it reads, it is answered
    assert resident_bytes(server) - before < 4 * MIB
    good.say("served")
    eve.sock.settimeout(TIMEOUT_S)
    for _ in range(1000):
        eve.expect("pong")
