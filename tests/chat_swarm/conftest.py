from collections.abc import Iterator

import pytest

from support.processes.fixtures import server, start_server
from support.swarm.engine_harness import ScriptedServer

__all__ = ["scripted_server", "server", "start_server"]


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """A server's end whose every word is the test's."""
    one = ScriptedServer()
    yield one
    one.close()
