"""Codecs that answer by themselves and hand over to a successor, as layers do, on a server's connection."""

import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import gevent.socket
import pytest

from chat_protocol.dialects.base import Codec, Incoming
from chat_protocol.dialects.ndjson import NDJSON, NdjsonCodec
from chat_server.app import Server
from chat_server.net import connection
from chat_server.observability.event_log import setup
from support.log_files.log_setup import NO_ENVIRONMENT, config, until
from support.processes.process import TIMEOUT_S

HELLO = b'{"type":"hello","username":"ann"}\n'


def frame(chunk: bytes) -> bytes:
    return b"<" + chunk + b">"


class Inner(Codec):
    """NDJSON in `<...>` on the way out; each input line `!` is answered by `?` outside of it."""

    encoding = NDJSON.framed(frame)
    has_output = True

    def __init__(self) -> None:
        self._codec = NdjsonCodec()
        self._questions = 0

    def receive(self, data: bytes) -> Sequence[Incoming]:
        self._questions += data.count(b"!")
        return self._codec.receive(data.replace(b"!", b""))

    def receive_eof(self) -> Sequence[Incoming]:
        return self._codec.receive_eof()

    def output(self) -> bytes:
        questions, self._questions = self._questions, 0
        return b"?" * questions


class Handshake(Codec):
    """Reads a line, answers `opened`, and hands over what follows."""

    encoding = NDJSON
    has_output = True

    def __init__(self) -> None:
        self._line = b""

    def receive(self, data: bytes) -> Sequence[Incoming]:
        line, newline, rest = (self._line + data).partition(b"\n")
        if not newline:
            self._line = line
            return ()
        self.successor = Inner()
        return self.successor.receive(rest) if rest else ()

    def receive_eof(self) -> Sequence[Incoming]:
        return ()

    def output(self) -> bytes:
        return b"opened\n" if self.successor else b""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(connection, "DialectDetector", Handshake)
    settings = config(tmp_path / "chat.log", port=0, store="memory")
    one = Server(settings, setup(settings, NO_ENVIRONMENT))
    one.start()
    yield one
    one.stop("test")


def converse(server: Server, *pieces: bytes) -> bytes:
    """Send the pieces in reads of their own; return all that the server answers until `bye`."""
    received = b""
    with gevent.socket.socket() as peer:
        peer.settimeout(TIMEOUT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.connect(("127.0.0.1", server.port))
        until(lambda: server.connections.registered)
        (one,) = server.connections.registered
        for sent in range(1, len(pieces) + 1):
            peer.sendall(pieces[sent - 1])
            until(lambda sent=sent: one.bytes_in >= sum(map(len, pieces[:sent])))  # type: ignore[misc]
        peer.shutdown(socket.SHUT_WR)
        while data := peer.recv(65536):
            received += data
    until(lambda: not server.connections.registered)
    return received


def test_successor_takes_over_with_its_own_output_and_encoding(server: Server) -> None:
    received = converse(server, b"knock\n" + b"!" + HELLO, b"!!")
    assert received.startswith(b'opened\n?<{"type":"welcome"')
    assert b"}\n>??" in received


@pytest.mark.parametrize("size", [1, 7])
def test_handover_does_not_depend_on_reads(server: Server, size: int) -> None:
    stream = b"knock\n!" + HELLO
    places = [*range(0, len(stream), size), len(stream)]
    received = converse(server, *(stream[start:end] for start, end in pairwise(places)))
    assert received.startswith(b'opened\n?<{"type":"welcome"')


def test_successor_is_used_before_a_command_is_complete(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as peer:
        peer.sendall(b"knock\n")
        until(lambda: server.connections.registered)
        (one,) = server.connections.registered
        until(lambda: isinstance(one.codec, Inner))
        assert one.session.encoding is Inner.encoding
