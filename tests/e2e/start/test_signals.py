"""Signals at any time of the start."""

import os
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from support.processes.fixtures import StartServer
from support.processes.process import TIMEOUT_S, clean_environment, eventually
from support.processes.start import SERVER, Start


def catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal (proc(5), `SigCgt`)."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_signal_at_any_time_of_the_start_is_answered_once_the_server_runs(
    number: signal.Signals, tmp_path: Path, starts: list[Start]
) -> None:
    event = "limits_reloaded" if number is signal.SIGHUP else "stacks"
    for step in range(10):
        folder = tmp_path / str(step)
        folder.mkdir()
        start = Start(folder)
        starts.append(start)
        # From its first line on, the program has a handler: before, the interpreter is loading.
        eventually(partial(catches, start.process.pid, number))
        time.sleep(step * 0.05)
        start.process.send_signal(number)
        eventually(partial(start.entries, event))
        start.process.terminate()
        assert start.process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize(
    ("number", "event"), [(signal.SIGHUP, "limits_not_reloaded"), (signal.SIGUSR1, "stacks")]
)
def test_signal_before_the_settings_are_read_is_answered_later(
    number: signal.Signals, event: str, tmp_path: Path, starts: list[Start]
) -> None:
    # Given a start that waits for its settings, long before anything listens
    fifo = tmp_path / "settings"
    os.mkfifo(fifo)
    start = Start(tmp_path, "", "--config", str(fifo))
    starts.append(start)
    eventually(partial(catches, start.process.pid, number))

    # When the signal comes, and then the settings
    start.process.send_signal(number)
    fifo.write_text("max-rooms = 7\n")

    # Then it serves, and answers the signal (a pipe cannot be read again)
    start.wait_serving()
    eventually(partial(start.entries, event))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_end_a_start_ends_it_without_a_traceback(number: signal.Signals, tmp_path: Path) -> None:
    # Given a start that waits for its settings
    fifo = tmp_path / "settings"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [SERVER, "--config", str(fifo)], env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: catches(process.pid, signal.SIGHUP))
    writer = os.open(fifo, os.O_RDWR)  # returns once the server has opened it, or at once

    process.send_signal(number)

    _, said = process.communicate(timeout=TIMEOUT_S)
    os.close(writer)
    assert (process.returncode, said) == (-number, "")


def test_first_process_of_a_container_ends_at_sigterm_during_the_start(tmp_path: Path) -> None:
    fifo = tmp_path / "settings"
    os.mkfifo(fifo)
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make namespaces")
    process = subprocess.Popen(
        [*unshare, SERVER, "--config", str(fifo)],
        env=clean_environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )

    def server() -> int:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return int(children[0]) if children and catches(int(children[0]), signal.SIGTERM) else 0

    os.kill(eventually(server), signal.SIGTERM)

    _, said = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, said) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("abstract", [False, True])
def test_service_manager_is_notified_when_the_server_serves(
    tmp_path: Path, start_server: StartServer, *, abstract: bool
) -> None:
    address = f"{'@' if abstract else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(TIMEOUT_S)
        manager.bind(address.replace("@", "\0"))
        server = start_server("--store", "memory", environ={"NOTIFY_SOCKET": address})
        assert manager.recv(100) == b"READY=1"
        server.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"


def test_stopped_server_takes_nothing_apart_that_its_threads_still_use(tmp_path: Path) -> None:
    """The interpreter's own way out, which runs `atexit`, may crash beside native threads."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import atexit\natexit.register(lambda: open({str(tmp_path / 'taken-apart')!r}, 'w').close())\n"
    )
    start = Start(tmp_path, environ={"PYTHONPATH": str(tmp_path)})
    start.wait_serving()
    start.process.terminate()
    assert start.process.wait(TIMEOUT_S) == 0
    assert start.entries("server_stopped")
    assert not (tmp_path / "taken-apart").exists()
