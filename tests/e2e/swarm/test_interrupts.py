"""Ctrl-C and SIGTERM during a run: it is drained and judged, and no process is left."""

import signal
from pathlib import Path
from typing import Any

import pytest

from support.processes.fixtures import StartServer
from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess

BOTS = 10
WAYS = {
    "alone-int": (signal.SIGINT, True, ()),
    "alone-term": (signal.SIGTERM, True, ()),
    "group-int": (signal.SIGINT, True, ("--processes", "2")),
    "group-term": (signal.SIGTERM, True, ("--processes", "2")),
    "master-term": (signal.SIGTERM, False, ("--processes", "2")),
    "broken-int": (signal.SIGINT, True, ("--slo", "delivery.p50<0.001us")),
}
"""Name → signal, whether it goes to all processes (as from a terminal), and the swarm's flags."""


@pytest.fixture(scope="module")
def interrupted(arena: ServerProcess, start_swarm: Any) -> dict[str, FinishedSwarm]:
    load = ("-u", str(BOTS), "-r", "50", "--room-size", "5", "--message-rate", "5")
    swarms: dict[str, SwarmProcess] = {
        name: start_swarm(name, arena.port, *load, *flags) for name, (_, _, flags) in WAYS.items()
    }

    def has_traffic(name: str) -> bool:
        rooms = [line for line in arena.entries("message") if line["room"].startswith(f"{name}-")]
        return len(rooms) > 5 * BOTS

    for name in swarms:
        eventually(lambda name=name: has_traffic(name), f"messages of {name}")  # type: ignore[misc]
    for name, swarm in swarms.items():
        number, group, _ = WAYS[name]
        swarm.signal(number, group=group)
    return {name: swarm.wait_finished() for name, swarm in swarms.items()}


@pytest.mark.parametrize("name", [name for name in WAYS if name != "broken-int"])
def test_interrupted_run_is_judged_and_written(interrupted: dict[str, FinishedSwarm], name: str) -> None:
    one = interrupted[name]
    one.assert_clean()
    assert one.summary.audit.notes == []
    assert one.summary.bots == {"ChatterBot": BOTS}
    assert (one.path / "report.html").stat().st_size > 1 << 16
    assert "PASSED" in one.out
    assert "Traceback" not in one.err


def test_interrupted_run_with_a_broken_slo_fails(interrupted: dict[str, FinishedSwarm]) -> None:
    one = interrupted["broken-int"]
    assert one.code == one.summary.exit_code == 1
    assert one.summary.audit.passed
    assert "BROKEN" in one.out


def unread(port: int) -> int:
    """Return the bytes in receive queues of a port on loopback."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(one[4].split(":")[1], 16) for one in lines if one[1] == f"0100007F:{port:04X}")


def test_second_interrupt_skips_the_drain(start_server: StartServer, start_swarm: Any) -> None:
    # Given a server that is stopped during a run
    server = start_server("--log-messages")
    swarm: SwarmProcess = start_swarm(
        "twice", server.port, "-u", "5", "--message-rate", "20", "--drain", "600"
    )
    eventually(lambda: len(server.entries("message")) > 5, "messages")
    server.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: unread(server.port), "an unread message")
        # When Ctrl-C comes, and again during the drain
        swarm.signal(signal.SIGINT, group=True)
        eventually(lambda: "Sending has stopped" in swarm.output(), "the drain")
        swarm.signal(signal.SIGINT, group=True)
        one = swarm.wait_finished()
    finally:
        server.process.send_signal(signal.SIGCONT)
    # Then the run is judged and written all the same
    assert one.code == 1
    assert any("interrupted" in note for note in one.summary.audit.notes)
    assert (one.path / "report.html").stat().st_size > 1 << 16
    assert "Traceback" not in one.err
