"""The real `chat-server` as a subprocess, with its data, log and standard error."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

TIMEOUT_S = 60.0
"""Timeout of a condition: generous, as the machine may be busy."""
BIN_DIR = Path(sys.executable).parent

T = TypeVar("T")
LogLine = dict[str, Any]


def strangers_may_run() -> bool:
    """Return whether another user than this one may run the programs here: not in a folder of one's own."""
    folders = [BIN_DIR, *BIN_DIR.parents]
    return os.geteuid() == 0 and all(folder.stat().st_mode & 0o5 == 0o5 for folder in folders)


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment without the developer's own settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CHAT_", "XDG_"))}
    return kept | {"HOME": str(folder), "LC_ALL": "C.UTF-8"}


def eventually(condition: Callable[[], T], what: str | Callable[[], str] = "it") -> T:
    """Wait until `condition` returns something true, and return that. `what`: what failed, or says so."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what() if callable(what) else what} did not happen in time")
        time.sleep(0.01)
    return found


class ServerProcess:
    """A running server; after `kill` or `stop`, `start` runs it again on the same data."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        open_files: int = 0,
        stdout: int | None = None,
        stderr: int | None = None,
        log_file: bool = False,
        wait: bool = True,
    ) -> None:
        self.folder = folder
        self.log_path = folder / "server.log"
        self.flags = (*flags, "--log-file", str(self.log_path)) if log_file else flags
        self.stderr_path = folder / "server.err"
        self.port = 0
        self._environ = clean_environment(folder) | dict(environ or {})
        self._open_files = open_files
        self._stdout = stdout
        self._stderr = stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._written = 0  # bytes of log from runs before this one
        self.start(wait=wait)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, *flags: str, wait: bool = True) -> None:
        """Start it; by default wait until it listens."""
        command = [
            str(BIN_DIR / "chat-server"),
            "--port",
            "0",
            "--data-dir",
            str(self.data),
            *self.flags,
            *flags,
        ]
        if self._open_files:
            command = ["sh", "-c", f'ulimit -n {self._open_files} && exec "$@"', "sh", *command]
        self._written = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log, self.stderr_path.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log if self._stdout is None else self._stdout,
                stderr=errors if self._stderr is None else self._stderr,
            )
        if wait:
            self.port = self.wait_logged("server_started")["port"]

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_exit(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(TIMEOUT_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it gracefully; return the exit code."""
        self.send_signal(number)
        return self.wait_exit()

    def kill(self) -> None:
        """Kill it; do nothing if it has ended."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def stderr_text(self) -> str:
        """Return its standard error."""
        return self.stderr_path.read_text()

    def raw_log(self) -> str:
        """Return the log of this run."""
        return self.log_path.read_bytes()[self._written :].decode()

    def entries(self, event: str | None = None, **fields: object) -> list[LogLine]:
        """Return the matching lines of this run's log; an incomplete last line does not count."""
        whole, _, _ = self.raw_log().rpartition("\n")
        return matching_lines(whole, event, **fields)

    def wait_logged(self, event: str, **fields: object) -> LogLine:
        """Wait for a matching log line, and return it."""

        def found() -> LogLine | None:
            lines = self.entries(event, **fields)
            assert lines or self.process.poll() is None, f"it ended without {event}: {self.stderr_text()}"
            return lines[0] if lines else None

        entry = eventually(found, f"the line {event}")
        assert entry is not None
        return entry


def matching_lines(text: str, event: str | None = None, **fields: object) -> list[LogLine]:
    """Return the lines of a log with this event and these fields."""
    lines = []
    for line in text.splitlines():
        entry: LogLine = json.loads(line)
        if (
            event in {None, entry["event"]}
            and fields.items()
            <= {key: value for key, value in entry.items() if isinstance(value, str | int | float)}.items()
        ):
            lines.append(entry)
    return lines
