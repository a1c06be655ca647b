"""Counters from a server's interval lines, and its memory."""

import os
from pathlib import Path

from support.processes.process import ServerProcess, eventually

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def counted(server: ServerProcess, field: str, key: str) -> int:
    """Return the sum over the interval lines of `errors`, `closed` or `refused` for one code or reason."""
    return sum(line[field].get(key, 0) for line in server.entries("interval"))


def wait_counted(server: ServerProcess, field: str, key: str, least: int = 1) -> None:
    """Wait until at least `least` have been counted."""
    eventually(lambda: counted(server, field, key) >= least, f"{least} {field} {key}")


def resident_bytes(server: ServerProcess) -> int:
    """Return the resident memory of the server process in bytes (proc(5))."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * PAGE_BYTES
