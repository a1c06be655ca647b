"""However a script's command ends, the name that was asked for can be used by the next one."""

import signal
from pathlib import Path
from typing import Any

import pytest

from chat_client import Client

Run = Any


def start_send(spawn: Any, server: Any, name: str) -> Any:
    """Start a `send` that has sent one line, and waits for more."""
    with Client(f"look-{name}"[:32], server.address, rooms=["end"]) as look:
        process = spawn("send", "--server", server.address, "--username", name, "--room", "end")
        process.stdin.write(f"first of {name}\n")
        process.stdin.flush()
        while getattr(look.next_event(60), "message", "") != f"first of {name}":
            pass
    return process


def start_tail(spawn: Any, server: Any, name: str) -> Any:
    """Start a `tail` that has printed one line, and follows."""
    process = spawn(
        *("tail", "--server", server.address, "--username", name, "--room", "end"),
        *("--reconnect", "--since", "0", "--json"),
    )
    with Client(f"say-{name}"[:32], server.address, rooms=["end"]) as speaker:
        speaker.say("for the tail", "end")
    process.stdout.readline()
    return process


@pytest.mark.parametrize("start", [start_send, start_tail], ids=["send", "tail"])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
    ids=["hangup", "termination", "interrupt", "kill"],
)
def test_name_of_an_ended_command_is_free_for_the_next(
    server: Any, spawn: Any, run: Run, tmp_path: Path, start: Any, number: signal.Signals, code: int
) -> None:
    name = f"{start.__name__[6:]}-{number}"
    process = start(spawn, server, name)
    process.send_signal(number)
    assert process.wait(60) == code
    assert "Traceback" not in process.stderr.read()
    again = run("send", "--server", server.address, "--username", name, "--room", "end", "again")
    assert (again.returncode, again.stderr) == (0, "")
    assert not list(tmp_path.rglob("sessions/*"))
    with Client(name, server.address) as free:
        assert [event.message for event in free.history("lobby", limit=1)] or free.username == name


def test_hangup_is_ignored_under_nohup(server: Any, spawn: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # is inherited
    try:
        tail = start_tail(spawn, server, "nohup")
    finally:
        signal.signal(signal.SIGHUP, before)
    tail.send_signal(signal.SIGHUP)
    with Client("say-on", server.address, rooms=["end"]) as speaker:
        speaker.say("after the hangup", "end")
    while "after the hangup" not in tail.stdout.readline():
        pass
    tail.send_signal(signal.SIGTERM)
    assert tail.wait(60) == 130


def test_tail_after_a_kill_goes_on_where_it_was(server: Any, spawn: Any) -> None:
    tail = start_tail(spawn, server, "goes-on")
    tail.kill()
    tail.wait()
    with Client("say-missed", server.address, rooms=["end"]) as speaker:
        speaker.say("missed by the tail", "end")
    again = spawn(
        *(
            "tail",
            "--server",
            server.address,
            "--username",
            "goes-on",
            "--room",
            "end",
            "--reconnect",
            "--json",
        )
    )
    while "missed by the tail" not in again.stdout.readline():
        pass


def test_name_that_is_held_elsewhere_is_explained(server: Any, run: Run, tmp_path: Path) -> None:
    other = Client(
        "elsewhere", server.address, reconnect=True, state=tmp_path / "of another user", timeout=60
    )
    other.connect()
    other._reconnector._stopped.set()  # it ends as a killed program does
    other.cut()
    while (
        "held" not in (done := run("send", "--server", server.address, "--username", "elsewhere", "x")).stderr
    ):
        assert done.returncode == 4
    assert "the name elsewhere is held for a session that was cut off, and free in 5 min" in done.stderr
