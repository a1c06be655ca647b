from collections.abc import Iterator

import pytest

from support.driven import ServerEnd
from support.fixtures import server, start_server

__all__ = ["end", "server", "start_server"]


@pytest.fixture
def end() -> Iterator[ServerEnd]:
    """A server's end whose every word is the test's."""
    one = ServerEnd()
    yield one
    one.close()
