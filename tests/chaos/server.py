"""The server under test as a process, on a fixed port.

`ChaosServer(..., rigged=True)` runs damage/rigged.py, whose store and clock fail on request; otherwise it is
the real `chat-server`.
"""

import random
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

from chaos.plan import Blow
from support.processes.process import ServerProcess

SERVER_FLAGS = (
    "--rate-messages",
    "0",
    "--rate-bytes",
    "0",
    "--reconnect-spread",
    "0.3",
    "--drain-timeout",
    "1",
)
"""No rate limits, and short waits at a stop."""


def free_port() -> int:
    """Return a free port that no outgoing connection can take while the server is down."""
    for _ in range(200):
        port = random.randrange(20_000, 30_000)  # below the usual ephemeral range, which begins at 32768
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("200 ports in a row are taken")


class ChaosServer(ServerProcess):
    """A server that is ended and restarted repeatedly, on the same port and data."""

    def __init__(self, folder: Path, *flags: str, rigged: bool = False, data: Path | None = None) -> None:
        self.rigged = rigged
        self.starts = 0
        self._data = data or folder / "data"
        self.fixed_port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.switches = folder / "switches"
        self.switches.mkdir(exist_ok=True)
        super().__init__(folder, *SERVER_FLAGS, *flags, environ={"CHAOS_SWITCHES": str(self.switches)})

    @property
    def data(self) -> Path:
        return self._data

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self, *flags: str, wait: bool = True) -> None:
        """Start it on its port; by default wait until it listens."""
        program = (
            [sys.executable, "-m", "chaos.damage.rigged"]
            if self.rigged
            else [f"{sys.prefix}/bin/chat-server"]
        )
        command = [
            *program,
            "--port",
            str(self.fixed_port),
            "--data-dir",
            str(self.data),
            *self.flags,
            *flags,
        ]
        self._written = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.starts += 1
        tests = str(Path(__file__).parents[1])
        path = ":".join(filter(None, (self._environ.get("PYTHONPATH"), tests)))
        with self.log_path.open("ab") as log, self.stderr_path.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                env=self._environ | ({"PYTHONPATH": path} if self.rigged else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
            )
        self.port = self.fixed_port
        if wait:
            self.wait_logged("server_started")

    def end(self, blow: Blow) -> None:
        """Kill it, or send SIGTERM."""
        if blow is Blow.TERM:
            self.send_signal(signal.SIGTERM)
        else:
            self.kill()

    def limit_files(self, limit: int) -> None:
        """Limit the size of files to `limit` bytes (RLIMIT_FSIZE); -1 restores the limit."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit if limit >= 0 else hard, hard))

    def switch(self, name: str, value: str | None) -> None:
        """Turn a fault of rigged.py on; None turns it off."""
        path = self.switches / name
        if value is None:
            path.unlink(missing_ok=True)
        else:
            fresh = path.with_suffix(".new")
            fresh.write_text(value)
            fresh.rename(path)

    def wal_path(self) -> Path:
        return self.data / "greenroom.db-wal"
