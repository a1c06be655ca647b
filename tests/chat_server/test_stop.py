"""How a server and its connections stop: a whole server in this process, and a peer."""

import socket
from pathlib import Path

import gevent.socket
import pytest

from chat_protocol.errors import ByeReason
from chat_server.app import Server
from chat_server.net import connection
from chat_server.observability.event_log import setup
from support.log_files.log_setup import NO_ENVIRONMENT, config, until
from support.processes.process import TIMEOUT_S


def test_stop_gives_last_bytes_as_long_as_the_drain_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a peer with more bytes queued than its kernel takes, and no linger outside of a stop
    monkeypatch.setattr(connection, "CLOSE_LINGER_S", 0.0)
    settings = config(tmp_path / "chat.log", port=0, store="memory", drain_timeout=TIMEOUT_S)
    server = Server(settings, setup(settings, NO_ENVIRONMENT))
    server.start()
    with gevent.socket.socket() as peer:
        peer.settimeout(TIMEOUT_S)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        until(lambda: server.connections.registered)
        (outbox,) = [one.outbox for one in server.connections.registered]
        while outbox.queued_bytes < settings.outbox_bytes // 2:
            outbox.put(b"\n" * 4096)

        # When the server stops, and the peer does not read at once
        stopping = gevent.spawn(server.stop, "test")
        until(lambda: outbox.closed)
        for _ in range(5):
            gevent.sleep(0.001)

        # Then it still gets its bye
        received = b""
        while data := peer.recv(65536):
            received += data
        assert b'"shutdown"' in received
    stopping.get()


def test_bye_at_the_same_time_as_a_command_waits_for_the_peer_to_close(tmp_path: Path) -> None:
    # Given a peer whose command arrives in the turn of the loop in which its connection is ended
    settings = config(tmp_path / "chat.log", port=0, store="memory", drain_timeout=0.0)
    server = Server(settings, setup(settings, NO_ENVIRONMENT))
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as peer:
        until(lambda: server.connections.registered)
        (one,) = server.connections.registered
        until(lambda: one._watcher.active)
        peer.sendall(b"hello\n")
        timer = gevent.get_hub().loop.timer(0.0)  # libev runs timers before reads
        timer.start(one.close_with_bye, ByeReason.SHUTDOWN)
        until(lambda: one.outbox.closed)
        timer.close()
        for _ in range(5):
            gevent.sleep(0.001)

        # Then the server waits for the peer to close: closing first would reset its input and lose the bye
        assert one in server.connections.registered
    until(lambda: not server.connections.registered)
    server.stop("test")
