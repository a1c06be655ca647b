"""Fixtures: the real server as a subprocess, a pseudo-terminal with a screen, fake peers and servers."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Self

import pytest

from chat_protocol.events import Event
from support.fakes.fake_server import FakeServer

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


class PseudoTerminal:
    """A command at a pseudo-terminal; `screen` is the visible text.

    Understands as much of ECMA-48 as prompt_toolkit uses, and answers its question where the cursor is.
    """

    def __init__(self, command: list[str], env: dict[str, str], rows: int = 30, columns: int = 80) -> None:
        self.raw = ""
        self._rows, self._columns = rows, columns
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._partial = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execve(command[0], command, env)
        ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._status: int | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._closed:
            return
        self._closed = True
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._fd)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def screen(self) -> str:
        return "\n".join("".join(row) for row in self._cells)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def paste(self, text: str) -> None:
        self.type(f"\x1b[200~{text}\x1b[201~")

    def interrupt(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def see(self, *texts: str) -> None:
        """Wait until all these texts are on the screen."""
        self.until(lambda: all(text in self.screen for text in texts), " and ".join(map(repr, texts)))

    def see_line(self, pattern: str) -> None:
        """Wait until a whole line of the screen matches."""
        self.until(lambda: any(re.fullmatch(pattern, line) for line in self.lines), pattern)

    def until(self, condition: Callable[[], bool], what: str = "it") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not appear on:\n{self.screen}"
            alive = self._read(0.05)
            assert alive or condition(), f"ended without {what}:\n{self.screen}"

    def exit_code(self) -> int:
        """Wait for the end of the command; return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(0.05):
            assert time.monotonic() < deadline, f"still running:\n{self.screen}"
        _, status = os.waitpid(self._pid, 0)
        self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _read(self, timeout: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        text = self._partial + data.decode(errors="replace")
        self.raw += text[len(self._partial) :]
        self._partial = self._draw(text)
        return bool(data)

    def _draw(self, text: str) -> str:
        position = 0
        while position < len(text):
            char = text[position]
            if char == "\x1b":
                found = re.compile(r"\x1b(?:\[([?>]?[\d;]*)([@-~])|[()].|\][^\x07]*\x07|[=>78])").match(
                    text, position
                )
                if found is None:
                    return text[position:]
                if found.group(2):
                    self._control(found.group(1), found.group(2))
                position = found.end()
                continue
            position += 1
            if char == "\r":
                self._column = 0
            elif char == "\n":
                self._line_feed()
            elif char == "\b":
                self._column = max(0, self._column - 1)
            elif char >= " ":
                if self._column >= self._columns:
                    self._column = 0
                    self._line_feed()
                self._cells[self._row][self._column] = char
                self._column += 1
        return ""

    def _line_feed(self) -> None:
        self._row += 1
        if self._row == self._rows:
            self._row -= 1
            self._cells = [*self._cells[1:], [" "] * self._columns]

    def _control(self, parameters: str, final: str) -> None:
        numbers = [int(number or 0) for number in parameters.strip("?>").split(";")]
        count = max(numbers[0], 1)
        row, column = self._row, min(self._column, self._columns - 1)
        match final:
            case "A":
                self._row = max(0, row - count)
            case "B":
                self._row = min(self._rows - 1, row + count)
            case "C":
                self._column = min(self._columns - 1, column + count)
            case "D":
                self._column = max(0, column - count)
            case "H":
                self._row, self._column = count - 1, max(numbers[-1], 1) - 1 if len(numbers) > 1 else 0
            case "K":
                self._cells[row][column:] = [" "] * (self._columns - column)
            case "J":
                if numbers[0] == 2:
                    self._cells = [[" "] * self._columns for _ in range(self._rows)]
                else:
                    self._cells[row][column:] = [" "] * (self._columns - column)
                    for below in range(row + 1, self._rows):
                        self._cells[below] = [" "] * self._columns
            case "n" if parameters == "6":
                self.type(f"\x1b[{row + 1};{column + 1}R")
            case _:
                pass


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


@pytest.fixture
def terminal(env: dict[str, str]) -> Iterator[Callable[..., PseudoTerminal]]:
    """Start `chat-client` at a pseudo-terminal."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, rows: int = 30, columns: int = 80, **more: str) -> PseudoTerminal:
            command = [str(BIN_FOLDER / "chat-client"), *arguments]
            return stack.enter_context(PseudoTerminal(command, env | more, rows, columns))

        yield start
