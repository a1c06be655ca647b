"""A server that most of these tests share, and swarms and liars that are ended whatever happens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.processes.process import ServerProcess
from support.swarm.swarm_runs import FinishedSwarm, LyingProxyProcess, SwarmProcess

StartSwarm = Callable[..., SwarmProcess]
StartLiar = Callable[..., LyingProxyProcess]


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without limits; each swarm on it has rooms of its own."""
    one = ServerProcess(
        tmp_path_factory.mktemp("arena"),
        *("--rate-messages", "0", "--rate-bytes", "0", "--log-interval", "0.2", "--log-messages"),
    )
    yield one
    code = one.stop()
    assert code == 0, one.stderr_text()
    assert not one.entries("internal_error")


@pytest.fixture(scope="session")
def start_swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartSwarm]:
    """Start swarms: `start_swarm("name", port, flags)`; the name is also that of its rooms."""
    started: list[SwarmProcess] = []

    def start(name: str, port: int, *flags: str, **how: Any) -> SwarmProcess:
        folder: Path = tmp_path_factory.mktemp(name)
        started.append(SwarmProcess(folder, port, "--room-prefix", name, *flags, **how))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="module")
def start_liar() -> Iterator[StartLiar]:
    """Start liars: `start_liar(port, flags)`."""
    started: list[LyingProxyProcess] = []

    def start(port: int, *flags: str) -> LyingProxyProcess:
        started.append(LyingProxyProcess(port, *flags))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def meek(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that refuses more than 24 messages a second of a session, however fast the machine is."""
    flags = ("--rate-messages", "24", "--rate-messages-burst", "24")
    one = ServerProcess(tmp_path_factory.mktemp("meek"), *flags)
    yield one
    assert one.stop() == 0


@pytest.fixture(scope="session")
def search(meek: ServerProcess, start_swarm: StartSwarm) -> SwarmProcess:
    """A search for the limit, which takes long and little of the machine, so it is begun early.

    Each of eight bots says 20 messages a second in its first step, and 38 in its second.
    """
    return start_swarm(
        "limit",
        meek.port,
        *("-u", "8", "-r", "50", "-t", "60s", "--room-size", "4", "--message-rate", "20"),
        *("--shape", "limit", "--shape-factor", "1.9", "--shape-settle", "1", "--shape-measure", "2"),
        *("--shape-precision", "0.99", "--slo", "refused=0"),
    )


@pytest.fixture(scope="session")
def chat_runs(arena: ServerProcess, search: SwarmProcess, start_swarm: StartSwarm) -> list[FinishedSwarm]:  # noqa: ARG001
    """Two runs of the same kind, at the same time: full rooms that talk, and nothing else happens."""
    flags = (
        *("-u", "30", "-r", "60", "-t", "5s", "--room-size", "6", "--message-rate", "4"),
        *("--ping-interval", "1", "--slo", "delivery.p50<60s,lost=0", "--json", "--csv", "locust"),
    )
    swarms = [start_swarm(f"talk{number}", arena.port, *flags) for number in (1, 2)]
    return [one.wait_finished() for one in swarms]
