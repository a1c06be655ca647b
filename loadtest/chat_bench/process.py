"""A server process: starts it, reads its CPU time and memory from the kernel, stops it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

START_TIMEOUT_S: Final = 15.0
"""A server that does not accept connections within this time has failed."""

END_TIMEOUT_S: Final = 5.0
"""Time between SIGTERM and SIGKILL."""

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Raised when a measurement fails; the sentence says why."""


def stat_cpu_seconds(stat: str) -> float:
    """Return user and system time from a line of /proc/PID/stat, in seconds.

    proc(5): fields 14 and 15, in clock ticks, all threads, those that have ended too. The name (field 2) may
    hold spaces and parentheses, so fields are counted from its last one.
    """
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds, all its threads together.

    The kernel keeps one sum. /proc/PID/stat shows it in ticks of 10 ms, the process's CPU-time clock in
    nanoseconds: clock_getcpuclockid(3) says that any process's may be read; its id is the pid's complement,
    shifted, with 2 for "scheduler time".
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return stat_cpu_seconds(Path(f"/proc/{pid}/stat").read_text(encoding="ascii"))


def status_rss_bytes(status: str) -> int:
    """Return the resident memory in /proc/PID/status, in bytes."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError("/proc/PID/status shows no VmRSS: the process has ended")


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory, in bytes."""
    return status_rss_bytes(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def find_program(name: str) -> str | None:
    """Return a program's path: beside this Python, on the PATH, or in sbin; None if it is not installed."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    return shutil.which(name, path=path)


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running server; leaving the context stops it."""

    def __init__(
        self, command: Sequence[str], *, port: int | None, log: Path, start_timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Start `command`; with `port` None it prints the port that it chose as its first line."""
        self._log = log
        self._start_timeout_s = start_timeout_s
        self._name = Path(command[0]).name
        with log.open("wb") as output:
            # A new session, so that Ctrl-C only reaches the bench, which then stops the server.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if port is None else output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._port = port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def port(self) -> int:
        """Return the port, once the server listens there. Raises `BenchError` if it does not start."""
        if self._port is None:
            pipe: IO[bytes] | None = self._process.stdout
            line = pipe.readline() if pipe is not None else b""
            if not line.strip().isdigit():
                raise self._failed("did not print its port")
            self._port = int(line)
            return self._port
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._failed(f"ended with {self._process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self._port
        raise self._failed(f"does not listen after {self._start_timeout_s:.0f} s")

    def cpu(self) -> float:
        """Return the CPU time used so far, in seconds."""
        return cpu_seconds(self.pid)

    def rss(self) -> int:
        """Return the resident memory, in bytes."""
        return rss_bytes(self.pid)

    def stop(self) -> None:
        """Stop the server: SIGTERM, then SIGKILL."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _failed(self, what: str) -> BenchError:
        """Return an error that quotes the end of the server's output."""
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
        return BenchError(f"{self._name} {what}" + (f": {said}" if said else ""))
