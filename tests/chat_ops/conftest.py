"""Log files shared by the tests of chat_ops."""

from pathlib import Path

import pytest

from support.log_files.real_log import write_hostile_log, write_real_log


@pytest.fixture(scope="session")
def real_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a real server that has ended."""
    return write_real_log(tmp_path_factory.mktemp("real-log"))


@pytest.fixture(scope="session")
def hostile_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with all kinds of hostile and bad lines."""
    return write_hostile_log(tmp_path_factory.mktemp("hostile") / "hostile.log")
