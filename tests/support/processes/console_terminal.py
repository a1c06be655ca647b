"""`chat-server --console` in a real pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment

_CODES = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|[=>])")


class ConsoleTerminal:
    """A pseudo-terminal that runs the server."""

    def __init__(
        self, folder: Path, *flags: str, size: tuple[int, int] = (40, 120), encoding: str = "utf-8"
    ) -> None:
        self.folder = folder
        self.shown = ""
        self._main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            [
                "setsid",
                "--ctty",
                BIN_DIR / "chat-server",
                "--console",
                "--port",
                "0",
                "--data-dir",
                folder / "data",
                *flags,
            ],
            env=clean_environment(folder) | {"TERM": "xterm", "PYTHONIOENCODING": encoding},
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        self.until("Ctrl-C stops the server.")
        if size[1] > len("server> "):
            self.until("server>")  # from now on keys are read
        self.log = folder / "data" / "chat-server.log"
        self.port = int(next(iter(re.findall(r"listens on 127\.0\.0\.1:(\d+)", self.shown))))

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def until(self, text: str) -> str:
        """Wait until `text` is on the screen; return the new output."""
        deadline = time.monotonic() + TIMEOUT_S
        start = len(self.shown)
        while text not in self.shown[start:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            assert self._read(), f"it ended without {text!r}: {self.shown!r}"
        return self.shown[start:]

    def recall(self, text: str) -> None:
        """Press Up until the prompt shows `text`: one that has just begun may not have its history yet."""
        deadline = time.monotonic() + TIMEOUT_S
        start = len(self.shown)
        while text not in self.shown[start:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            self.type("\x1b[A")
            for _ in range(10):
                assert self._read(), f"it ended without {text!r}: {self.shown!r}"
                if text in self.shown[start:]:
                    break

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_S)

    def hang_up(self) -> None:
        """Close the terminal, as a broken SSH connection does."""
        if self._main >= 0:
            os.close(self._main)
            self._main = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def _read(self) -> bool:
        if not select.select([self._main], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._main, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.shown += _CODES.sub("", data.decode(errors="replace"))
        return bool(data)
