from collections.abc import Iterator

import pytest

from support.processes.start import Start


@pytest.fixture
def starts() -> Iterator[list[Start]]:
    started: list[Start] = []
    yield started
    for one in started:
        one.close()
