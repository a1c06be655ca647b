import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from support.processes.fixtures import connect, dial, server, start_server
from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess, eventually
from support.processes.scrape import Scrape, free_port

__all__ = ["connect", "dial", "server", "start_server"]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Find a program, or skip the test; where all tools are said to be there, fail it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("GREENROOM_TOOLS") == "required":
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """What a server exports after a while of being used."""
    port = free_port()
    one = ServerProcess(tmp_path_factory.mktemp("exported"), "--metrics-port", str(port))
    try:
        with NdjsonPeer(one.port) as ann:
            ann.hello("ann")
            ann.say("hi")
            eventually(lambda: Scrape.of(port).value("greenroom_messages_total") == 1)
            scrape = Scrape.of(port)
        assert one.stop() == 0
        yield scrape
    finally:
        one.kill()
