"""What tests of the event log share: settings, lines read back, a pipe whose reader can pause."""

import fcntl
import json
import os
import select
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent

from chat_server.settings.load import Config

SERVER = Path(__file__).parents[3] / "server"
DISK_FULL_COMPLAINT = (
    "chat-server: cannot write the log to {}: No space left on device; 1 lines wait, 0 were dropped so far\n"
)
NO_ENVIRONMENT: Mapping[str, str] = {}


def config(path: Path | str, **more: Any) -> Config:
    return Config(log_file=str(path), node="east-1", **more)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def until(condition: Callable[[], object]) -> None:
    while not condition():
        gevent.sleep(0.005)


class Pipe:
    """A pipe that is read only when the test calls `read`."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reader, False)

    def read(self) -> bytes:
        got = b""
        while select.select([self.reader], [], [], 0)[0] and (data := os.read(self.reader, 65536)):
            got += data
        return got

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            try:
                os.close(descriptor)
            except OSError:
                continue
