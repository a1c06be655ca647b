"""How the server starts: signals at any time, standard streams that are closed, full or not read, no home."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment, eventually, matching_lines

SERVER = str(BIN_DIR / "chat-server")
STORE_IN_MEMORY = ("--port", "0", "--store", "memory")


def catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal (proc(5), `SigCgt`)."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1]
    return bool(int(mask, 16) >> (number - 1) & 1)


class Start:
    """A server that is started with a shell's redirections, and leaves its log in a file."""

    def __init__(self, folder: Path, redirections: str = "", *flags: str) -> None:
        self.log = folder / "chat.log"
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" {redirections}', SERVER, *STORE_IN_MEMORY, *self._log_to(), *flags],
            env=clean_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def _log_to(self) -> tuple[str, str]:
        return "--log-file", str(self.log)

    def wait_serving(self) -> int:
        """Wait until it listens; return the port."""

        def port() -> int:
            assert self.process.poll() is None
            started = self.entries("server_started")
            return started[0]["port"] if started else 0

        return eventually(port)

    def entries(self, event: str) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        return matching_lines(text.rpartition("\n")[0], event)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def starts() -> Iterator[list[Start]]:
    started: list[Start] = []
    yield started
    for one in started:
        one.close()


# ---- standard streams


@pytest.mark.parametrize(
    "redirections",
    ["2>&-", "2>/dev/full", "<&- >&- 2>&-", "</dev/full >/dev/full 2>/dev/full", "2>&1 >/dev/null | true"],
)
def test_server_runs_whatever_becomes_of_its_standard_streams(
    redirections: str, tmp_path: Path, starts: list[Start]
) -> None:
    starts.append(Start(tmp_path, redirections))
    with NdjsonPeer(starts[0].wait_serving()) as ann:
        ann.hello("ann")
        ann.say("hi")


def test_server_whose_standard_error_is_not_read_serves_all_rooms(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a standard error that is a full pipe, and a log that cannot be written, which is reported there
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    server = start_server("--store", "memory", wait=False, stderr=writing)
    os.close(writing)

    # When it starts, then it serves, is asked for its stacks, and stops
    server.port = server.wait_logged("server_started")["port"]
    ann = connect(server, "ann")
    server.send_signal(signal.SIGUSR1)
    server.wait_logged("stacks")
    ann.say("hi")
    ann.close()
    assert server.stop() == 0
    os.close(reading)


def test_descriptors_of_closed_standard_streams_are_not_reused(tmp_path: Path, starts: list[Start]) -> None:
    starts.append(Start(tmp_path, "<&- >&- 2>&-", "--store", f"sqlite:///{tmp_path}/chat.db"))
    starts[0].wait_serving()
    pid = starts[0].process.pid
    assert {Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)} == {Path("/dev/null")}


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full"])
def test_exit_code_of_a_refused_start_does_not_depend_on_standard_error(
    redirections: str, tmp_path: Path
) -> None:
    wrong, unusable = (
        Start(tmp_path, redirections, "--sync", "x"),
        Start(tmp_path, redirections, "--host", "192.0.2.1"),
    )
    assert (wrong.process.wait(TIMEOUT_S), unusable.process.wait(TIMEOUT_S)) == (2, 1)


@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), (">&-", 1), ("| true", 0)])
def test_help_that_cannot_be_written(redirection: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" --help {redirection}; exit "${{PIPESTATUS[0]}}"', SERVER],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert not code or "chat-server: cannot write to standard output" in done.stderr


def test_start_in_a_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd {gone} && rmdir {gone} && exec "$0" "$@"'
    process = subprocess.Popen(
        ["sh", "-c", command, SERVER, *STORE_IN_MEMORY],
        env=clean_environment(tmp_path) | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Greenroom listens")
        process.terminate()
    assert process.returncode == 0


# ---- signals during the start


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


# ---- users without a home


def run_as_stranger(*flags: str, home: str | None) -> "subprocess.CompletedProcess[str]":
    """Run the server, for up to three seconds, as a user without an entry in /etc/passwd."""
    if os.getuid() != 0:
        pytest.skip("only root may run programs as another user")
    environ = {"PATH": "/usr/bin:/bin"} | ({} if home is None else {"HOME": home})
    stranger = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    return subprocess.run(
        ["timeout", "-s", "TERM", "3", *stranger, SERVER, *flags],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


HOMES = [None, "", "relative", "/root"]


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("flags", [("--help",), ("--version",), ("--check", "--store", "memory")])
def test_user_without_home_may_ask_for_help(flags: tuple[str, ...], home: str | None) -> None:
    done = run_as_stranger(*flags, home=home)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize("home", HOMES)
def test_user_without_home_may_serve_from_memory(home: str | None) -> None:
    done = run_as_stranger(*STORE_IN_MEMORY, home=home)
    assert "Greenroom listens" in done.stderr
    assert '"server_started"' in done.stdout


@pytest.mark.parametrize("home", HOMES[:3])
def test_user_without_home_is_asked_for_a_data_folder(home: str | None) -> None:
    done = run_as_stranger("--port", "0", home=home)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--data-dir" in done.stderr


def test_python_module_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chat_server", "--version"],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "chat-server")
