"""The server is killed and restarted, or stopped (SIGSTOP): no message is lost, and the figures show it."""

import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.processes.peer import NdjsonPeer
from support.processes.process import ServerProcess, eventually
from support.swarm.stall import LONGEST_SERVER_STALL_S, stall_s
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

BOTS = 20
MESSAGES_PER_S = 20
"""Messages per second of each DirectBot."""
SHORTEST_STALL_S = 1.0
SERVER = ("--rate-messages", "0", "--rate-bytes", "0", "--log-interval", "0.1")


class Outage(NamedTuple):
    """A swarm that went through an outage, its length, and each room's highest seq afterwards."""

    swarm: FinishedSwarm
    seconds: float
    heads: dict[str, int]


def messages(server: ServerProcess) -> int:
    return sum(line["messages"] for line in server.entries("interval"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    started = [ServerProcess(tmp_path_factory.mktemp(name), *SERVER) for name in ("killed", "stopped")]
    yield started
    for one in started:
        assert one.stop() == 0


@pytest.fixture(scope="module")
def outages(servers: list[ServerProcess], start_swarm: Any) -> dict[str, Outage]:
    # Given rooms of resuming bots, and pairs that send as fast as they are answered
    mortal, still = servers
    load = ("-u", str(BOTS), "-r", "50")
    crowd: SwarmProcess = start_swarm(
        "crowd", mortal.port, *load, "--room-size", "10", "--message-rate", "4", "--resumable"
    )
    pairs: SwarmProcess = start_swarm(
        "pairs",
        still.port,
        *load,
        "--chatter-weight",
        "0",
        "--direct-weight",
        "1",
        "--direct-rate",
        str(MESSAGES_PER_S),
        "--window",
        "1",
    )
    eventually(lambda: messages(mortal) > 100, "messages")
    eventually(lambda: messages(still) > 2 * BOTS * MESSAGES_PER_S, "messages")
    stall = stall_s(still.port, shortest=SHORTEST_STALL_S, longest=LONGEST_SERVER_STALL_S)
    # When one server is killed and started again, and the other is stopped
    mortal.kill()
    killed = time.monotonic()
    still.send_signal(signal.SIGSTOP)
    stored = messages(still)
    stopped = time.monotonic()
    mortal.start("--port", str(mortal.port), wait=False)
    away = time.monotonic() - killed
    time.sleep(stall)
    stalled_s = time.monotonic() - stopped
    still.send_signal(signal.SIGCONT)
    mortal.port = mortal.wait_logged("server_started")["port"]
    # Then all come back, and go on
    eventually(lambda: len(mortal.entries("session_opened", resumed=True)) == BOTS, "all bots' return")
    eventually(lambda: messages(mortal) > 100, "messages after the outage")
    planned = BOTS * int(stalled_s * MESSAGES_PER_S)
    eventually(lambda: messages(still) > stored + planned, "the messages that were planned meanwhile")
    ended = crowd.interrupt(), pairs.interrupt()
    with NdjsonPeer(mortal.port) as peer:
        welcome = peer.hello(rooms=["crowd-0", "crowd-1"])
    heads = {room["room"]: room["seq"] for room in welcome["rooms"]}
    return {"killed": Outage(ended[0], away, heads), "stopped": Outage(ended[1], stalled_s, {})}


def test_killed_server_loses_no_messages(outages: dict[str, Outage]) -> None:
    outages["killed"].swarm.assert_clean()


def test_killed_server_stores_each_message_once(outages: dict[str, Outage]) -> None:
    killed = outages["killed"]
    assert sum(killed.heads.values()) == killed.swarm.count("sent") == killed.swarm.count("acknowledged")


def test_killed_server_shows_in_the_figures(outages: dict[str, Outage]) -> None:
    swarm, seconds, _ = outages["killed"]
    assert swarm.count("cuts") >= BOTS
    assert swarm.count("resumed") == BOTS
    assert 0 < swarm.histogram("resume").count <= BOTS  # a welcome that was read too late is not timed
    assert swarm.histogram("resume").smallest >= seconds * 1e6 * 0.99
    assert swarm.summary.errors["ECONNREFUSED"] > 0
    # Messages planned meanwhile were sent late, and are timed from the planned time
    assert swarm.histogram("ack_response").largest >= seconds * 1e6 * 0.99
    assert swarm.histogram("ack_response").largest > swarm.histogram("ack").largest


def test_stopped_server_delays_each_planned_message(outages: dict[str, Outage]) -> None:
    swarm, seconds, _ = outages["stopped"]
    swarm.assert_clean()
    half = seconds / 2
    planned = int(half * MESSAGES_PER_S) - 1  # of each bot in the first half; they wait for the second half
    late = swarm.count_at_least("ack_response", half * 1e6 * 0.99)
    assert late >= BOTS * planned
    assert swarm.count_at_least("delivery_response", half * 1e6 * 0.99) >= 2 * BOTS * planned
    # With a window of one, only the message in flight waits in the service time (and on a busy machine those
    # that it delays, which are late in both)
    assert 0 < swarm.count_at_least("ack", half * 1e6 * 0.99) <= late - BOTS * (planned - 1)


def test_stopped_server_does_not_show_as_bot_lag(outages: dict[str, Outage]) -> None:
    swarm, seconds, _ = outages["stopped"]
    waited = swarm.count_at_least("delivery_response", seconds / 2 * 1e6)
    assert swarm.count_at_least("bot_lag", seconds / 2 * 1e6) < waited / 2
    assert swarm.histogram("bot_lag").percentile(90) < seconds / 2 * 1e6
