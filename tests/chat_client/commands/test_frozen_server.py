"""`tail` and `rtt` when the server stops answering."""

import socket
from typing import Any

import pytest

from chat_client import Client
from chat_protocol.commands import Hello, Ping
from chat_protocol.dialects.ndjson import decode_command, encode
from chat_protocol.events import PongEvent
from support.fakes.fake_server import make_welcome


@pytest.mark.timeout(240)
def test_tail_of_a_frozen_server_ends_with_3_or_reconnects(start_server: Any, spawn: Any) -> None:
    server = start_server("--store", "memory")
    with Client("ann", server.address, reconnect=True, timeout=120) as ann:
        plain = spawn("tail", "--server", server.address, "--since", "0")
        patient = spawn("tail", "--server", server.address, "--since", "0", "--reconnect")
        ann.say("first")
        for tail in (plain, patient):
            assert tail.stdout.readline().endswith("ann: first\n")
        server.freeze()
        assert plain.wait(120) == 3
        assert "nothing received for 20 s" in plain.stderr.read()
        assert "trying again" in patient.stderr.readline()
        server.thaw()
        ann.say("second")
        assert patient.stdout.readline().endswith("ann: second\n")
        assert patient.poll() is None


@pytest.mark.parametrize(("answered", "code"), [(3, 0), (1, 0), (0, 5)])
def test_rtt_with_loss_exits_0_if_anything_was_answered(
    peer: Any, run: Any, answered: int, code: int
) -> None:
    def answer(connection: socket.socket) -> None:
        left = answered
        for line in connection.makefile("rb"):
            command = decode_command(line)
            if isinstance(command, Hello):
                connection.sendall(encode(make_welcome(session=None)))
            elif isinstance(command, Ping) and left:
                left -= 1
                connection.sendall(encode(PongEvent(id=command.id, ref=command.ref, timestamp=0.0)))

    done = run("rtt", "--server", peer(answer).address, "-c", "3", "-i", "0.01", "--timeout", "0.5")
    assert done.returncode == code
    assert f"3 pings, {answered} answered, {100 * (3 - answered) / 3:.1f}% lost" in done.stdout
    assert done.stdout.count("no answer from") == 3 - answered
