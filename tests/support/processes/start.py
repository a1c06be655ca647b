"""A server that is started by a shell, with redirections, and leaves its log in a file."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.processes.process import BIN_DIR, clean_environment, eventually, matching_lines

SERVER = str(BIN_DIR / "chat-server")
STORE_IN_MEMORY = ("--port", "0", "--store", "memory")


class Start:
    """A server that is started with a shell's redirections, and leaves its log in a file."""

    def __init__(
        self, folder: Path, redirections: str = "", *flags: str, environ: dict[str, str] | None = None
    ) -> None:
        self.log = folder / "chat.log"
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" {redirections}', SERVER, *STORE_IN_MEMORY, *self._log_to(), *flags],
            env=clean_environment(folder) | (environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
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
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # in a pipeline, the server is a child of the shell
        self.process.wait()
