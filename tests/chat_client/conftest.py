"""Fixtures: the real server as a subprocess, a pseudo-terminal with a screen, fake peers and servers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_protocol.events import Event
from support.fakes.fake_server import FakeServer
from support.processes.pseudo_terminal import PseudoTerminal

PATIENCE_S = 30.0  # generous, as the machine may be busy; waits end as soon as their condition holds
BIN_FOLDER = Path(sys.executable).parent


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without settings of the user that runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CHAT_", "XDG_"))}
    kept.pop("NO_COLOR", None)
    home = {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    return kept | home | {"TERM": "xterm", "LOGNAME": "tester", "USER": "tester", "LC_ALL": "C.UTF-8"}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class ServerProcess:
    """`chat-server` as a subprocess; port and data are kept over `kill` and `start`."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self._folder / "server.log"
        log.unlink(missing_ok=True)
        log.touch()
        with (self._folder / "server.err").open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    BIN_FOLDER / "chat-server",
                    *("--port", str(self.port), "--log-file", str(log), "--drain-timeout", "1"),
                    *("--data-dir", str(self._folder), *self._flags),
                ],
                env=environment(self._folder),
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        wait_until(lambda: self._started(log))

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _started(self, log: Path) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.err").read_text()
        for line in log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if entry["event"] == "server_started":
                    self.port = entry["port"]
                    return True
        return False


class FakePeer:
    """A listener that calls `behave` with each connection."""

    def __init__(self, behave: Callable[[socket.socket], object]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._behave = behave
        self.connections = 0
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection, contextlib.suppress(OSError):
                    self._behave(connection)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server shared by all tests: each uses its own names and rooms."""
    one = ServerProcess(
        tmp_path_factory.mktemp("server"), "--store", "memory", "--rate-messages", "0", "--rate-bytes", "0"
    )
    yield one
    one.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start real servers for one test."""
    started: list[ServerProcess] = []

    def start(*flags: str) -> ServerProcess:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(ServerProcess(folder, *flags))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def peer() -> Iterator[Callable[[Callable[[socket.socket], object]], FakePeer]]:
    peers: list[FakePeer] = []

    def start(behave: Callable[[socket.socket], object]) -> FakePeer:
        peers.append(FakePeer(behave))
        return peers[-1]

    yield start
    for one in peers:
        one.close()


@pytest.fixture
def fake_server() -> Iterator[Callable[..., FakeServer]]:
    """Start fake servers with scripted welcomes."""
    started: list[FakeServer] = []

    def start(*replies: Event | list[Event]) -> FakeServer:
        started.append(FakeServer(*replies))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path)


@pytest.fixture
def run(env: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `chat-client` without a terminal."""

    def command(*arguments: str, stdin: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [BIN_FOLDER / "chat-client", *arguments],
            input=stdin,
            env=env | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            check=False,
        )

    return command


@pytest.fixture
def spawn(env: dict[str, str]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `chat-client` without a terminal; it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [BIN_FOLDER / "chat-client", *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Terminals:
    """Starts commands at pseudo-terminals."""

    def __init__(self, env: dict[str, str], stack: contextlib.ExitStack) -> None:
        self._env = env
        self._stack = stack

    def __call__(self, *arguments: str, rows: int = 30, columns: int = 80, **more: str) -> PseudoTerminal:
        """Start `chat-client`."""
        command = [str(BIN_FOLDER / "chat-client"), *arguments]
        return self._stack.enter_context(PseudoTerminal(command, self._env | more, rows, columns))

    def shell(self, line: str) -> PseudoTerminal:
        """Start a shell with job control, and type a line in it."""
        path = f"{BIN_FOLDER}:{os.environ['PATH']}"
        env = self._env | {"PS1": "ready$ ", "PATH": path}
        shell = self._stack.enter_context(PseudoTerminal(["/bin/bash", "--norc", "--noprofile", "-i"], env))
        shell.see("ready$ ")
        shell.type(line + "\r")
        return shell


@pytest.fixture
def terminal(env: dict[str, str]) -> Iterator[Terminals]:
    """Start `chat-client` at a pseudo-terminal."""
    with contextlib.ExitStack() as stack:
        yield Terminals(env, stack)
