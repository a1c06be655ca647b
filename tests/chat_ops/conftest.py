"""Logs that the tests of the log analysis share."""

from pathlib import Path

import pytest

from support.log_files.real_log import write_hostile_log, write_real_log


@pytest.fixture(scope="session")
def real_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a real server that has ended."""
    return write_real_log(tmp_path_factory.mktemp("real-log"))


@pytest.fixture(scope="session")
def hostile_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with everything in it that can be wrong."""
    return write_hostile_log(tmp_path_factory.mktemp("hostile") / "hostile.log")
