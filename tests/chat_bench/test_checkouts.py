"""Which servers are measured, and what is said of those that are not there."""

from pathlib import Path

import pytest

from chat_bench.checkouts import servers
from chat_bench.process import BenchError, find_program


def test_ours_is_first_and_others_may_be_folders_or_programs(tmp_path: Path) -> None:
    program = tmp_path / ".venv" / "bin" / "chat-server"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    ours = find_program("chat-server")
    assert servers([]) == {"greenroom": ours}
    assert servers([str(tmp_path)]) == {"greenroom": ours, "other": str(program)}
    assert list(servers([str(program), str(tmp_path)])) == ["greenroom", "other 1", "other 2"]


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="chat-server is not there"):
        servers([str(tmp_path)])
