"""Workers that are started separately, as on several machines; one connects during the run."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.processes.process import BIN_DIR, ServerProcess, clean_environment, eventually
from support.swarm.swarm_runs import LOCUSTFILE, RUN_TIMEOUT_S, FinishedSwarm, SwarmProcess, free_port

USERS = 8
LOGINS = USERS + USERS // 2
"""The first worker stops half of its users, and the second starts as many."""


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> None:
        with (tmp_path / f"worker-{len(started)}.err").open("wb") as err:
            command = [str(BIN_DIR / "locust"), "-f", str(LOCUSTFILE), "--worker", "--master-port", str(port)]
            started.append(
                subprocess.Popen(
                    command,
                    cwd=tmp_path,
                    env=clean_environment(tmp_path),
                    stdin=subprocess.DEVNULL,
                    stderr=err,
                )
            )

    yield start
    try:
        for number, one in enumerate(started):
            assert one.wait(RUN_TIMEOUT_S) == 0
            assert "Traceback" not in (tmp_path / f"worker-{number}.err").read_text()
    finally:
        for one in started:
            one.kill()
            one.wait()


def test_worker_that_connects_late_gets_its_share(
    arena: ServerProcess, start_swarm: Any, start_worker: Callable[[int], None]
) -> None:
    # Given a run with one worker
    port = free_port()
    load = ("-u", str(USERS), "-r", "50", "--message-rate", "10", "--rooms", "2")
    master = ("--master", "--master-bind-port", str(port), "--expect-workers", "1")
    swarm: SwarmProcess = start_swarm("late", arena.port, *load, *master)
    start_worker(port)
    eventually(lambda: len(senders(arena)) > 5 * USERS, "messages")
    # When another worker connects
    start_worker(port)
    run = senders(arena)[0][:5]
    eventually(lambda: len(logins(arena, run)) == LOGINS, "its share of the users")
    before = len(senders(arena))
    eventually(lambda: len(senders(arena)) > before + 15 * USERS, "messages of all")
    swarm.signal(signal.SIGINT)
    one: FinishedSwarm = swarm.wait_finished()
    # Then its bots took part like the others
    assert one.code == 0, one.err
    assert not any(one.summary.audit.counts.values()), one.summary.audit
    assert one.summary.audit.notes == []
    assert one.summary.audit.checked == one.count("delivered")
    assert one.summary.generator.processes == 2
    assert run == one.summary.run
    assert one.count("logins") == LOGINS
    assert max(row.connected for row in one.run.rows) == USERS


def senders(arena: ServerProcess) -> list[str]:
    """Return the senders of this run's messages, in order."""
    return [line["username"] for line in arena.entries("message") if line["room"].startswith("late-")]


def logins(arena: ServerProcess, run: str) -> list[str]:
    """Return the usernames that logged in, in order."""
    names = [line["username"] for line in arena.entries("session_opened")]
    return [name for name in names if name.startswith(run)]
