from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_server.observability.event_log import EventLogger, setup
from support.log_files.log_setup import NO_ENVIRONMENT, Pipe, config


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.log"


@pytest.fixture
def log(path: Path) -> Iterator[EventLogger]:
    log = setup(config(path), NO_ENVIRONMENT)
    yield log
    log.sink.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()
