"""Fixtures shared by several test folders: a common server, own servers, and peers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess
from support.processes.wire import RawConnection

__all__ = ["Connect", "Dial", "StartServer", "connect", "dial", "server", "start_server"]

Connect = Callable[..., NdjsonPeer]
Dial = Callable[..., RawConnection]
StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server shared by all tests, which use their own names and rooms."""
    one = ServerProcess(tmp_path_factory.mktemp("server"), "--rate-messages", "0", "--rate-bytes", "0")
    yield one
    code = one.stop()
    assert code == 0, one.stderr_text()
    assert not one.entries("internal_error")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers for one test."""
    started: list[ServerProcess] = []

    def start(*flags: str, **how: Any) -> ServerProcess:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(ServerProcess(folder, *flags, **how))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Open raw connections, which send nothing by themselves."""
    with ExitStack() as stack:

        def open_one(server: ServerProcess, **how: Any) -> RawConnection:
            return stack.enter_context(RawConnection(server.port, **how))

        yield open_one


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect native clients: `connect(server)` sends no hello, `connect(server, "ann")` does."""
    with ExitStack() as stack:

        def open_one(server: ServerProcess, name: str = "", *, wire: Any = None, **hello: Any) -> NdjsonPeer:
            peer = stack.enter_context(NdjsonPeer(server.port, **(wire or {})))
            if name:
                peer.hello(name, **hello)
            return peer

        yield open_one
