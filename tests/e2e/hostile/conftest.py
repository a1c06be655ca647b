"""A server with its default limits, and a good client on it that is to be served whatever the others do."""

from collections.abc import Callable, Iterator

import pytest

from support.processes.fixtures import connect, dial, server, start_server
from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess

__all__ = ["connect", "dial", "server", "start_server"]

Served = Callable[[], None]


@pytest.fixture(scope="session")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that all of these tests attack, at its default settings."""
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
    """Let the good client say something in a room of its own, and see that it is acknowledged.

    It is asked for once more at the end of each test.
    """
    with NdjsonPeer(fort.port) as good:
        good.hello("good", rooms=["haven"])

        def served() -> None:
            for _ in range(3):
                good.say("served", room="haven")

        yield served
        served()
