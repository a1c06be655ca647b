"""A bot process that is stopped: its stalls are shown as the generator's, not as the server's."""

import os
import signal
import time
from typing import Any, NamedTuple

import pytest

from support.processes.process import ServerProcess, eventually
from support.swarm.stall import LONGEST_WORKER_STALL_S, stall_s
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

SHORTEST_STALL_S = 0.6
AWAKE_PER_STALL = 2 / 3
STALLS = 3
MESSAGES_PER_STALL = 0.9
"""Messages that a bot sends in the time of a stall; its room has four members."""
BOTS = 40


class Starved(NamedTuple):
    """A swarm one process of which was stopped several times, and for how long each time."""

    swarm: FinishedSwarm
    stall_s: float

    @property
    def stall_us(self) -> float:
        return self.stall_s * 1e6


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory, start_swarm: Any) -> Starved:
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
        stall = stall_s(server.port, shortest=SHORTEST_STALL_S, longest=LONGEST_WORKER_STALL_S)
        # Of the messages that wait for a bot, only the last is timed: a long stall needs a low rate
        rate = str(MESSAGES_PER_STALL / stall)
        swarm: SwarmProcess = start_swarm(
            "starved",
            server.port,
            *("--processes", "2", "-u", str(BOTS), "-r", "100", "--rooms", "10", "--message-rate", rate),
        )
        eventually(
            lambda: sum(line["messages"] for line in server.entries("interval")) > 2 * BOTS, "messages"
        )
        victim = swarm.children()[0]
        for _ in range(STALLS):
            os.kill(victim, signal.SIGSTOP)
            time.sleep(stall)
            os.kill(victim, signal.SIGCONT)
            time.sleep(stall * AWAKE_PER_STALL)
        return Starved(swarm.interrupt(), stall)
    finally:
        server.kill()


def test_starved_process_loses_no_messages(starved: Starved) -> None:
    starved.swarm.assert_clean()
    assert starved.swarm.summary.generator.processes == 2


def test_starved_process_shows_its_lag(starved: Starved) -> None:
    swarm = starved.swarm
    assert swarm.histogram("loop_lag").largest >= starved.stall_us * 0.9
    assert swarm.count_at_least("bot_lag", starved.stall_us / 2) >= STALLS
    assert swarm.count_at_least("send_lag", starved.stall_us / 2) >= STALLS
    assert max(row.loop_lag_max_us for row in swarm.run.rows) >= starved.stall_us * 0.9


def test_starved_seconds_are_marked_with_the_reason(starved: Starved) -> None:
    swarm = starved.swarm
    marked = [row for row in swarm.run.rows if row.marked]
    assert len(marked) >= STALLS - 1
    assert {row.marked for row in marked} >= {"loop lag over 100 ms"}
    steady = [row for row in swarm.run.rows if row.phase == "steady"]
    assert swarm.summary.generator.marked_seconds == sum(bool(row.marked) for row in steady) > 0
    clean, whole = swarm.summary.scopes["clean"], swarm.summary.scopes["steady"]
    assert clean.seconds < whole.seconds
    assert any("too slow" in warning for warning in swarm.summary.warnings)


def test_deliveries_of_unknown_time_are_counted_and_not_timed(starved: Starved) -> None:
    swarm = starved.swarm
    assert swarm.count("untimed") > 0
    timed = swarm.whole.metrics["delivery"].count
    assert timed + swarm.count("untimed") + swarm.count("caught_up") == swarm.count("delivered")


def test_server_latency_excludes_the_starvation(starved: Starved) -> None:
    # Late reads are in the bot lag, and not in the latency
    swarm, half = starved.swarm, starved.stall_us / 2
    assert swarm.count_at_least("delivery", half) < swarm.count_at_least("bot_lag", half) / 2
    delivery = swarm.histogram("delivery", "steady")
    assert delivery.percentile(50) < half
    assert delivery.percentile(90) < half
    assert swarm.histogram("delivery_response").largest >= starved.stall_us * 0.9
