from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from conversations.drivers import DRIVERS, Driver
from support.processes.fixtures import server
from support.processes.peer import unique_name
from support.processes.process import ServerProcess

__all__ = ["server"]


@pytest.fixture
def enter(server: ServerProcess) -> Iterator[Callable[..., Driver]]:
    """Connect clients: `enter("ann", "text")`; names are made unique."""
    with ExitStack() as stack:

        def one(name: str, dialect: str, *, named: bool = True) -> Driver:
            driver = stack.enter_context(DRIVERS[dialect](server.port))
            driver.name = unique_name(name)
            if named:
                driver.enter(driver.name)
            return driver

        yield one
