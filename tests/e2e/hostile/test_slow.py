"""Slow peers: hello byte by byte, endless lines, silence."""

import json
import os
from pathlib import Path

from chat_protocol.framing.lines import MAX_FRAME_BYTES
from e2e.hostile.conftest import Served
from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.process import ServerProcess, eventually
from support.processes.server_counters import counted, resident_bytes, wait_counted

MIB = 1 << 20
SILENT_CLIENTS = int(os.environ.get("GREENROOM_SILENT", "1000"))
"""Silent connections; CONTRIBUTING.md has the command for ten times as many."""


def open_files(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_a_hello_a_byte_at_a_time(start_server: StartServer, dial: Dial, connect: Connect) -> None:
    # Given a server with a hello timeout, and many clients that send hello slowly
    server = start_server(
        *("--hello-timeout", "0.5", "--store", "memory", "--log-interval", "0.1", "--drain-timeout", "0.2"),
        *("--rate-messages", "0"),  # the number of its messages depends on the machine
    )
    good = connect(server, "good")
    wires = [dial(server) for _ in range(50)]
    ended: dict[int, bytes] = {}

    # When each sends a byte, and then another, and so on
    slowly = b'{"type":"hello", ' + b" " * 100_000
    for at in range(len(slowly)):
        for number, wire in enumerate(wires):
            if number not in ended:
                try:
                    wire.send(slowly[at : at + 1])
                except OSError:  # it is closed
                    ended[number] = b""
        good.say("served")
        if len(ended) == len(wires) or counted(server, "refused", "hello_timeout"):
            break

    # Then each is disconnected at its timeout nevertheless
    for number, wire in enumerate(wires):
        if number not in ended:
            assert json.loads(wire.read_to_end().splitlines()[-1])["reason"] == "hello_timeout"
    wait_counted(server, "refused", "hello_timeout", len(wires))
    good.say("served")


def test_lines_without_end_a_byte_at_a_time(fort: ServerProcess, connect: Connect, served: Served) -> None:
    # Given many named clients with nearly a whole frame of input
    begun = b'{"type":"message","message":"' + b"x" * (MAX_FRAME_BYTES - 100)
    peers = [connect(fort, "slow") for _ in range(20)]
    before = resident_bytes(fort)
    for peer in peers:
        peer.send(begun)
    served()

    # When they go on a byte at a time
    for _ in range(72):
        for peer in peers:
            peer.send(b"x")
    served()

    # Then each takes no more memory than a frame, and is disconnected beyond that
    assert resident_bytes(fort) - before < 20 * 4 * MAX_FRAME_BYTES + 4 * MIB
    for peer in peers:
        assert peer.expect("error", code="frame_too_large")
        assert peer.expect_bye()["reason"] == "frame_too_large"
    wait_counted(fort, "closed", "frame_too_large", len(peers))


def test_a_line_without_end_at_full_speed(fort: ServerProcess, connect: Connect, served: Served) -> None:
    # Given a few clients, one named, that send 32 MB without a newline and read nothing
    eves = [connect(fort, "eve"), connect(fort), connect(fort)]
    before = resident_bytes(fort)
    block = b"x" * MIB
    for start, eve in zip((b'{"type":"message"', b'{"type":"hello"', b"hello "), eves, strict=True):
        eve.sock.settimeout(0.5)
        try:
            eve.send(start)
            for _ in range(32):
                eve.send(block)
                served()
        except OSError:  # closed, or no longer read: both will do
            pass

    # Then hardly any of it is kept in memory
    served()
    assert resident_bytes(fort) - before < 4 * MIB


def test_many_that_say_nothing(start_server: StartServer, dial: Dial, connect: Connect) -> None:
    # Given a server with a well-behaved client
    timeout = "1.5" if SILENT_CLIENTS <= 1000 else "8"
    flags = ("--hello-timeout", timeout, "--log-interval", "0.1", "--drain-timeout", "0.2")
    server = start_server(*flags)
    good = connect(server, "good")
    before, files = resident_bytes(server), open_files(server)

    # When very many connections stay silent
    for number in range(SILENT_CLIENTS):
        dial(server)
        if number % 100 == 0:
            good.say("served")
    eventually(lambda: open_files(server) >= files + SILENT_CLIENTS, "their connections")

    # Then each costs little, the client is served, and they time out
    assert (resident_bytes(server) - before) / SILENT_CLIENTS < 32 * 1024
    wait_counted(server, "refused", "hello_timeout", SILENT_CLIENTS)
    good.say("served")


def test_timed_out_connections_leave_no_descriptors(
    start_server: StartServer, dial: Dial, connect: Connect
) -> None:
    server = start_server("--hello-timeout", "0.2", "--store", "memory", "--drain-timeout", "0.2")
    files = open_files(server)
    for _ in range(50):
        dial(server).send(b'{"type":"hel')
    eventually(lambda: open_files(server) > files + 40, "their connections")
    # They neither read their bye nor close: the server closes them after a while.
    eventually(lambda: open_files(server) == files, "their end")
    connect(server, "good").say("served")
