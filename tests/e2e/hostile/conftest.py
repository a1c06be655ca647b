"""A server with default limits, and a well-behaved client that must be served during each attack."""

from collections.abc import Callable, Iterator

import pytest

from support.processes.fixtures import connect, dial, server, start_server
from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess

__all__ = ["connect", "dial", "server", "start_server"]

Served = Callable[[], None]


@pytest.fixture(scope="session")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The attacked server, with default settings, shared by all tests."""
    one = ServerProcess(
        tmp_path_factory.mktemp("fort"), "--log-interval", "0.1", "--drain-timeout", "0.2", log_file=True
    )
    yield one
    code = one.stop()
    assert code == 0, one.stderr_text()
    for trouble in ("internal_error", "store_failed"):
        assert not one.entries(trouble), one.entries(trouble)


@pytest.fixture
def served(fort: ServerProcess) -> Iterator[Served]:
    """Return a check that the well-behaved client is served; it also runs at the end of each test."""
    with NdjsonPeer(fort.port) as good:
        good.hello("good", rooms=["haven"])

        def served() -> None:
            for _ in range(3):
                good.say("served", room="haven")

        yield served
        served()
