"""All kinds of bots at once, in two processes: each behaves as specified, and none misses a message."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

WINDOW_MESSAGES = 2
LATE_MS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with small outboxes, on which readers lag soon."""
    one = ServerProcess(
        tmp_path_factory.mktemp("kinds"),
        *("--rate-messages", "0", "--rate-bytes", "0", "--outbox-bytes", "64K", "--log-interval", "0.2"),
    )
    yield one
    assert one.stop() == 0


@pytest.fixture(scope="module")
def runs(server: ServerProcess, start_swarm: object, start_liar: object) -> dict[str, FinishedSwarm]:
    """All kinds; and four DirectBots behind a proxy that delays their echoes."""
    assert callable(start_swarm)
    assert callable(start_liar)
    mixed: SwarmProcess = start_swarm(
        "mixed",
        server.port,
        *("--processes", "2", "-u", "50", "-r", "50", "--rooms", "4", "--message-rate", "10"),
        *("--chatter-weight", "4", "--direct-weight", "2", "--lurker-weight", "2", "--churn-weight", "2"),
        *("--slow-weight", "1", "--slow-rate", "64", "--payload-bytes", "4000", "--drain", "30"),
        *("--churn-stay", "0.5", "--churn-away", "0.2", "--churn-cut", "0.7", "--direct-rate", "10"),
    )
    liar = start_liar(server.port, "--delay", "1", "--delay-ms", str(LATE_MS))
    held_up: SwarmProcess = start_swarm(
        "heldup",
        liar.port,
        *("-u", "4", "-r", "4", "-t", "5s", "--chatter-weight", "0", "--direct-weight", "1"),
        *("--direct-rate", "1000", "--window", str(WINDOW_MESSAGES)),
    )
    eventually(lambda: server.entries("reader_lagging"), "a slow reader")
    eventually(lambda: len(server.entries("session_opened", resumed=True)) > 5, "resumed sessions")
    return {"mixed": mixed.interrupt(), "heldup": held_up.wait_finished()}


@pytest.fixture(scope="module")
def mixed(runs: dict[str, FinishedSwarm]) -> FinishedSwarm:
    return runs["mixed"]


def test_all_kinds_of_bots_miss_nothing(mixed: FinishedSwarm) -> None:
    mixed.assert_clean()
    assert mixed.summary.audit.unfinished == 0
    assert mixed.summary.generator.processes == 2


def test_kinds_are_started_by_their_weights(mixed: FinishedSwarm) -> None:
    bots = mixed.summary.bots
    assert sum(bots.values()) == 50
    assert set(bots) == {"ChatterBot", "DirectBot", "LurkerBot", "ChurnBot", "SlowBot"}
    assert bots["ChatterBot"] > bots["LurkerBot"] > bots["SlowBot"] > 0


def test_rooms_have_bots_of_both_processes(mixed: FinishedSwarm, server: ServerProcess) -> None:
    # Given that each process has its own source addresses, and that names contain the slot
    run = mixed.summary.run
    processes = defaultdict[int, set[str]](set)
    for line in server.entries("session_opened"):
        if line["username"].startswith(f"{run}r"):
            slot = int(line["username"].removeprefix(f"{run}r"))
            processes[slot % 4].add(line["address"].partition(":")[0])
    # Then each room has been entered from both
    assert {*processes} == {0, 1, 2, 3}
    assert all(len(addresses) == 2 for addresses in processes.values()), processes


def test_cut_bots_resume_their_sessions(mixed: FinishedSwarm, server: ServerProcess) -> None:
    assert mixed.count("cuts") > 0
    # A session that was resumed after the final report is not counted
    assert 5 < mixed.count("resumed") <= len(server.entries("session_opened", resumed=True))
    assert mixed.count("not_resumed") == 0
    assert 0 < mixed.histogram("resume").count <= mixed.count("resumed")


def test_slow_bots_lag(mixed: FinishedSwarm, server: ServerProcess) -> None:
    run = mixed.summary.run
    lagging = {line["username"] for line in server.entries("reader_lagging")}
    assert lagging
    assert all(name.startswith(run) for name in lagging)
    assert mixed.count("untimed") > 0


def test_window_bounds_unacknowledged_messages(runs: dict[str, FinishedSwarm]) -> None:
    heldup = runs["heldup"]
    heldup.assert_clean()
    rounds = heldup.summary.seconds / (LATE_MS / 1000) + 1
    assert 4 * WINDOW_MESSAGES < heldup.count("sent") <= 4 * WINDOW_MESSAGES * rounds
    assert heldup.histogram("ack").smallest >= LATE_MS * 1000 * 0.99
    # A message that is sent late counts in the response time, not in the service time
    assert heldup.whole.metrics["ack_response"].max > 2 * LATE_MS * 1000


def test_senders_and_readers_share_the_rooms(arena: ServerProcess, start_swarm: Any) -> None:
    # Given as many readers as senders, which all start within one second
    load = ("-u", "40", "-r", "400", "--room-size", "10", "--message-rate", "10", "-t", "3s")
    swarm: SwarmProcess = start_swarm("shared", arena.port, *load, "--lurker-weight", "1")
    swarm.wait_finished().assert_clean()
    # Then no room is silent
    rooms = {line["room"] for line in arena.entries("message") if line["room"].startswith("shared-")}
    assert rooms == {f"shared-{number}" for number in range(4)}
