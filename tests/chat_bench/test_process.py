"""CPU time and memory from /proc; servers are started and stopped."""

import os
import sys
import time
from pathlib import Path

import pytest

from chat_bench.process import (
    BenchError,
    Server,
    cpu_seconds,
    find_program,
    free_port,
    rss_bytes,
    stat_cpu_seconds,
    status_rss_bytes,
)

LISTENS = """
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


def test_stat_cpu_seconds_with_any_process_name_reads_fields_14_and_15() -> None:
    tick = os.sysconf("SC_CLK_TCK")
    stat = "17 (a) R b) S 1 17 17 0 -1 4194560 500 0 0 0 250 50 9 9 20 0 3 0 100 1000 10"
    assert stat_cpu_seconds(stat) == pytest.approx(300 / tick)


def test_cpu_seconds_agrees_with_proc() -> None:
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    pid = os.getpid()
    fine = cpu_seconds(pid)
    coarse = stat_cpu_seconds(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))
    assert fine >= 0.1
    assert coarse == pytest.approx(fine, abs=0.1)


def test_rss_bytes_is_in_bytes() -> None:
    assert status_rss_bytes("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t    123 kB\nThreads:\t1\n") == 123 * 1024
    assert rss_bytes(os.getpid()) > 2**20


def test_rss_bytes_of_an_ended_process_raises() -> None:
    with pytest.raises(BenchError, match="has ended"):
        status_rss_bytes("Name:\tx\nState:\tZ (zombie)\n")


def test_server_is_awaited_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", LISTENS, str(port)]
    with Server(command, port=port, log=tmp_path / "log") as server:
        assert server.port() == port
        assert server.rss() > 0
        pid = server.pid
    assert not Path(f"/proc/{pid}").exists()


def test_server_that_fails_is_quoted_in_the_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such store')"]
    with (
        Server(command, port=free_port(), log=tmp_path / "log") as server,
        pytest.raises(BenchError, match="no such store"),
    ):
        server.port()


def test_find_program_finds_programs_beside_python() -> None:
    assert find_program(Path(sys.executable).name) is not None
    assert find_program("no-such-program-anywhere") is None
