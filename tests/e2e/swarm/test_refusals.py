"""Invalid options are refused at once, in one line; a run that broke its conditions says so."""

from typing import Any

import pytest

from support.processes.process import ServerProcess, eventually
from support.swarm.swarm_runs import FinishedSwarm, SwarmProcess, free_port

WRONG = {
    "slo-unit": ("--slo", "delivery.p99<50"),
    "slo-name": ("--slo", "delivery.p99<50ms,losses=0"),
    "slo-nothing": ("--slo", "fast"),
    "rate": ("--message-rate", "-1"),
    "payload": ("--payload-bytes", "3"),
    "weights": ("--chatter-weight", "0"),
    "limit": ("--shape", "limit"),
    "host": ("--host", "127.0.0.1:99999"),
    "source": ("--source-addresses", "127.0.0.1,203.0.113.7"),
}
"""Invalid options; SAID has a part of the message for each."""
SAID = {
    "slo-unit": "unit",
    "slo-name": "losses",
    "slo-nothing": "fast",
    "rate": "--message-rate",
    "payload": "--payload-bytes",
    "weights": "--chatter-weight",
    "limit": "--slo",
    "host": "99999",
    "source": "203.0.113.7",
}
PARALLEL_COMMANDS = 4
"""Commands run in parallel: most of a short run is Locust's own start."""


@pytest.fixture(scope="module")
def ended(
    arena: ServerProcess,
    start_swarm: Any,
    chat_runs: list[FinishedSwarm],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, FinishedSwarm]:
    """The results of all commands: those that begin a run, and the invalid ones."""
    port = free_port()
    file = tmp_path_factory.mktemp("file") / "file"
    file.touch()
    load = ("-u", "10", "-r", "50", "-t", "4s", "--room-size", "5", "--message-rate", "5")
    running: dict[str, SwarmProcess] = {
        "broken": start_swarm("slo", arena.port, *load, "--slo", "delivery.p50<0.001us,lost=0"),
        "nobody": start_swarm("nobody", port, *load),
        "nowhere": start_swarm("nowhere", port, *load, "--host", "nowhere.invalid:7072"),
        "full": start_swarm("full", arena.port, *load),
    }
    full = running["full"]
    eventually(lambda: "All users spawned" in full.output(), "all bots")
    (full.report / "summary.json").mkdir()  # after the check for writability, as when a disk becomes full
    commands = {
        **WRONG,
        "holds": ("--report", str(chat_runs[0].path)),
        "unwritable": ("--report", str(file / "run")),
    }
    done: dict[str, FinishedSwarm] = {}
    names = list(commands)
    for first in range(0, len(names), PARALLEL_COMMANDS):
        some = names[first : first + PARALLEL_COMMANDS]
        swarms = {name: start_swarm(name, port, "-u", "2", "-t", "20s", *commands[name]) for name in some}
        done |= {name: swarm.wait_finished() for name, swarm in swarms.items()}
    return done | {name: swarm.wait_finished() for name, swarm in running.items()}


def lines(one: FinishedSwarm) -> list[str]:
    """Return the lines on standard error, except Locust's start messages."""
    return [line for line in one.err.splitlines() if "/INFO/" not in line]


@pytest.mark.parametrize("name", WRONG)
def test_invalid_option_prints_one_line_and_exits_2(ended: dict[str, FinishedSwarm], name: str) -> None:
    one = ended[name]
    assert one.code == 2, one.err
    (line,) = lines(one)
    assert line.startswith("locust: error: ")
    assert SAID[name] in line
    assert not one.path.exists()


def test_directory_with_a_run_is_not_overwritten(
    ended: dict[str, FinishedSwarm], chat_runs: list[FinishedSwarm]
) -> None:
    one = ended["holds"]
    assert one.code == 2
    (line,) = lines(one)
    assert "already holds a run" in line
    assert chat_runs[0].summary.run in chat_runs[0].out + chat_runs[0].err


def test_unwritable_directory_is_refused_before_the_run(ended: dict[str, FinishedSwarm]) -> None:
    one = ended["unwritable"]
    assert one.code == 2
    (line,) = lines(one)
    assert "cannot be written to" in line


def test_unwritten_run_fails_and_says_so_first(ended: dict[str, FinishedSwarm]) -> None:
    full = ended["full"]
    assert full.code == 1
    (first,) = (line for line in full.out.splitlines() if line.startswith("Swarm run "))
    assert first.endswith("FAILED: FILES NOT WRITTEN (THE MEASUREMENTS PASSED)")
    assert "summary.json could not be written" in full.out
    assert '"passed": true' in full.out  # the summary is printed instead


def test_broken_slo_fails_the_run_and_names_the_term(ended: dict[str, FinishedSwarm]) -> None:
    broken = ended["broken"]
    assert broken.code == 1
    summary = broken.summary
    assert summary.audit.passed
    assert (summary.passed, summary.exit_code) == (False, 1)
    assert summary.objective is not None
    slow, lost = summary.objective.terms
    assert (slow.text, slow.passed, slow.limit, slow.unit) == ("delivery.p50<0.001us", False, 0.001, "us")
    assert slow.value is not None
    assert slow.value > slow.limit
    assert (lost.text, lost.passed, lost.value) == ("lost=0", True, 0)
    assert "FAILED: THE SLO" in broken.out
    assert "BROKEN" in broken.out


def test_run_without_a_server_fails(ended: dict[str, FinishedSwarm]) -> None:
    nobody, nowhere = ended["nobody"], ended["nowhere"]
    assert nobody.code == 1
    assert not nobody.summary.passed
    assert nobody.summary.errors["ECONNREFUSED"] > 0
    assert "FAILED" in nobody.out
    assert "is there a server" in nobody.out
    assert nowhere.code == 2
    assert "nowhere.invalid" in nowhere.err
    assert "Traceback" not in nobody.err + nowhere.err
