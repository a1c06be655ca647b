"""A bot process that is stopped: its stalls are shown as the generator's, not as the server's."""

import os
import signal
import time
from typing import Any

import pytest

from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

STOPPED_S = 0.6
AWAKE_S = 0.4
STALLS = 3
BOTS = 40


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory, start_swarm: Any) -> FinishedSwarm:
    """Two processes whose bots share all rooms; one is stopped several times."""
    server = ServerProcess(
        tmp_path_factory.mktemp("starved"),
        "--rate-messages",
        "0",
        "--rate-bytes",
        "0",
        "--log-interval",
        "0.1",
    )
    try:
        swarm: SwarmProcess = start_swarm(
            "starved",
            server.port,
            *("--processes", "2", "-u", str(BOTS), "-r", "100", "--rooms", "10", "--message-rate", "1.5"),
        )
        eventually(
            lambda: sum(line["messages"] for line in server.entries("interval")) > 2 * BOTS, "messages"
        )
        victim = swarm.children()[0]
        for _ in range(STALLS):
            os.kill(victim, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(victim, signal.SIGCONT)
            time.sleep(AWAKE_S)
        return swarm.interrupt()
    finally:
        server.kill()


def test_starved_process_loses_no_messages(starved: FinishedSwarm) -> None:
    starved.assert_clean()
    assert starved.summary.generator.processes == 2


def test_starved_process_shows_its_lag(starved: FinishedSwarm) -> None:
    assert starved.histogram("loop_lag").largest >= STOPPED_S * 1e6 * 0.9
    assert starved.count_at_least("bot_lag", STOPPED_S / 2 * 1e6) >= STALLS
    assert starved.count_at_least("send_lag", STOPPED_S / 2 * 1e6) >= STALLS
    assert max(row.loop_lag_max_us for row in starved.run.rows) >= STOPPED_S * 1e6 * 0.9


def test_starved_seconds_are_marked_with_the_reason(starved: FinishedSwarm) -> None:
    marked = [row for row in starved.run.rows if row.marked]
    assert len(marked) >= STALLS - 1
    assert {row.marked for row in marked} >= {"loop lag over 100 ms"}
    steady = [row for row in starved.run.rows if row.phase == "steady"]
    assert starved.summary.generator.marked_seconds == sum(bool(row.marked) for row in steady) > 0
    clean, whole = starved.summary.scopes["clean"], starved.summary.scopes["steady"]
    assert clean.seconds < whole.seconds
    assert any("too slow" in warning for warning in starved.summary.warnings)


def test_deliveries_of_unknown_time_are_counted_and_not_timed(starved: FinishedSwarm) -> None:
    assert starved.count("untimed") > 0
    timed = starved.whole.metrics["delivery"].count
    assert timed + starved.count("untimed") + starved.count("caught_up") == starved.count("delivered")


def test_server_latency_excludes_the_starvation(starved: FinishedSwarm) -> None:
    # Late reads are in the bot lag, and not in the latency
    late = starved.count_at_least("bot_lag", STOPPED_S / 2 * 1e6)
    assert starved.count_at_least("delivery", STOPPED_S / 2 * 1e6) < late / 2
    delivery = starved.histogram("delivery", "steady")
    assert delivery.percentile(50) < STOPPED_S / 2 * 1e6
    assert delivery.percentile(90) < STOPPED_S / 2 * 1e6
    assert starved.histogram("delivery_response").largest >= STOPPED_S * 1e6 * 0.9
