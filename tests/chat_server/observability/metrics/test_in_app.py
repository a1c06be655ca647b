"""Metrics of a whole server in this process, with a scraper."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import gevent.socket
import pytest

from chat_server.app import Server
from chat_server.engines.factory import CannotStart
from chat_server.observability.event_log import setup
from support.log_files.log_setup import NO_ENVIRONMENT, config, lines
from support.processes.process import TIMEOUT_S
from support.processes.scrape import free_port


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.log"


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    settings = config(path, port=0, store="memory", drain_timeout=0.0, metrics_port=free_port())
    server = Server(settings, setup(settings, NO_ENVIRONMENT))
    server.start()
    yield server
    server.stop("test")


def say(server: Server, **frame: Any) -> Any:
    """Send one frame and return the first answer."""
    peer = gevent.socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
    with peer:
        peer.sendall(json.dumps(frame).encode() + b"\n")
        return json.loads(peer.makefile("rb").readline())


def scrape(server: Server, path: str) -> tuple[int, str]:
    peer = gevent.socket.create_connection(("127.0.0.1", server.config.metrics_port), timeout=TIMEOUT_S)
    with peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        answer = peer.makefile("rb").read().decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_server_is_ready_once_it_listens(server: Server) -> None:
    assert scrape(server, "/readyz") == (200, "ready\n")
    assert "\ngreenroom_ready 1.0\n" in scrape(server, "/metrics")[1]


def test_server_in_memory_has_no_disk_metrics(server: Server) -> None:
    page = scrape(server, "/metrics")[1]
    assert 'store="memory"' in page
    assert "greenroom_store_bytes" not in page


def test_internal_error_is_counted_in_metrics_and_log(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server with a bug
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("ours")

    monkeypatch.setattr(server.core.router, "dispatch", fail)

    # When a command triggers it
    assert say(server, type="hello", username="ann")["code"] == "internal"

    # Then both count it
    assert '\ngreenroom_errors_total{code="internal"} 1.0\n' in scrape(server, "/metrics")[1]
    server.stop("test")
    (interval,) = (line for line in lines(path) if line["event"] == "interval")
    assert interval["errors"] == {"internal": 1}


def test_metrics_port_in_use_releases_the_chat_port(server: Server, path: Path) -> None:
    port = free_port()
    settings = config(path, port=port, store="memory", metrics_port=server.config.metrics_port)
    log = setup(settings, NO_ENVIRONMENT)
    with pytest.raises(CannotStart, match="metrics port"):
        Server(settings, log)
    log.sink.close()
    with socket.create_server(("127.0.0.1", port)):
        pass
