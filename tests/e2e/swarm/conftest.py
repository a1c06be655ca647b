"""Fixtures: a shared server, swarms and lying proxies; all are stopped at the end."""

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
    """A server without rate limits; each swarm on it has its own rooms."""
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
    """Start swarms: `start_swarm("name", port, *flags)`; the name is also the prefix of its rooms."""
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
    """Start lying proxies: `start_liar(port, *flags)`."""
    started: list[LyingProxyProcess] = []

    def start(port: int, *flags: str) -> LyingProxyProcess:
        started.append(LyingProxyProcess(port, *flags))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def meek(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that limits a session to 24 messages per second, however fast the machine is."""
    flags = ("--rate-messages", "24", "--rate-messages-burst", "24")
    one = ServerProcess(tmp_path_factory.mktemp("meek"), *flags)
    yield one
    assert one.stop() == 0


@pytest.fixture(scope="session")
def search(meek: ServerProcess, start_swarm: StartSwarm) -> SwarmProcess:
    """A capacity search; it takes long but little CPU, so it is started early.

    Each of eight bots sends 20 messages per second in the first step, and 38 in the second.
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
    """Two equal runs at the same time: full rooms that send messages, and no disturbance."""
    flags = (
        *("-u", "30", "-r", "60", "-t", "5s", "--room-size", "6", "--message-rate", "4"),
        *("--ping-interval", "1", "--slo", "delivery.p50<60s,lost=0", "--json", "--csv", "locust"),
    )
    swarms = [start_swarm(f"chat{number}", arena.port, *flags) for number in (1, 2)]
    return [one.wait_finished() for one in swarms]
