from collections.abc import Iterator

import pytest

from support.processes.fixtures import server, start_server
from support.swarm.engine_harness import ServerEnd

__all__ = ["end", "server", "start_server"]


@pytest.fixture
def end() -> Iterator[ServerEnd]:
    """A server's end whose every word is the test's."""
    one = ServerEnd()
    yield one
    one.close()
