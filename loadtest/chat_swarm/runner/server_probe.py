"""Finds the server's process and samples its cores, memory and descriptors (psutil, /proc).

A sample costs 0.1 ms (every fifth one 1 ms), however many descriptors the server has, so it may be taken
between two turns of the event loop.
"""

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import psutil

from chat_swarm.model.schema import ServerSample

CHILD_SCAN_SAMPLES: Final = 5
"""The server's children are looked up every so many samples, since that reads all of /proc."""

_GONE_ERRORS: Final = (
    psutil.NoSuchProcess,
    psutil.AccessDenied,
    ProcessLookupError,
    PermissionError,
    FileNotFoundError,
)
_MAX_PARENT_GENERATIONS: Final = 8
"""How many ancestors are followed to the process that opened a shared listening socket."""


class ProbeError(Exception):
    """The process cannot be sampled; the text says why."""


def _canonical_address(address: str) -> str:
    """Return the canonical spelling of an address, without zone; an IPv4-mapped IPv6 address as IPv4."""
    parsed = ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _resolve_all(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # an unknown name is reported by preflight.py; here it only means "not this machine"
        return set()
    return {_canonical_address(str(entry[4][0])) for entry in found}


def _is_local_address(address: str) -> bool:
    if ip_address(address).is_loopback:
        return True
    links = (link for links in psutil.net_if_addrs().values() for link in links)
    return any(
        link.family in {socket.AF_INET, socket.AF_INET6} and _canonical_address(link.address) == address
        for link in links
    )


def _listener_pids(connections: Iterable[Any], wanted: set[str], port: int) -> list[int | None]:
    """Return the pids of the sockets that listen on the port of one of the wanted addresses."""
    found = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            address = _canonical_address(connection.laddr.ip)
            if ip_address(address).is_unspecified or address in wanted:
                found.append(getattr(connection, "pid", None))
    return found


def find_server(host: str, port: int) -> int | None:
    """Return the pid of the process on this machine that listens there; None if none can be seen.

    Reads all processes' descriptors: call it once, before the bots start. If several processes share the
    socket, it is the ancestor of the others.
    """
    wanted = {address for address in _resolve_all(host) if _is_local_address(address)}
    if not wanted:
        return None
    try:
        pids = _listener_pids(psutil.net_connections(kind="tcp"), wanted, port)
    except psutil.AccessDenied:  # macOS shows other users' sockets to root only
        return None
    for pid in pids:
        if pid is not None and pid != os.getpid():
            return _oldest_listener(pid, wanted, port)
    return None


def _oldest_listener(pid: int, wanted: set[str], port: int) -> int:
    for _ in range(_MAX_PARENT_GENERATIONS):
        try:
            parent = psutil.Process(pid).parent()
            if parent is None or parent.pid == os.getpid():
                break
            if not _listener_pids(parent.net_connections(kind="tcp"), wanted, port):
                break
        except _GONE_ERRORS:
            break
        pid = parent.pid
    return pid


def _descriptor_count(pid: int) -> int:
    """Return the number of open descriptors; since Linux 6.2 it is the size of /proc/PID/fd."""
    folder = Path("/proc") / str(pid) / "fd"
    if folder.parent.exists():
        return folder.stat().st_size or sum(1 for _ in folder.iterdir())
    return int(psutil.Process(pid).num_fds())


class ServerProbe:
    """Samples one process and its children. A later process with the same pid is not mistaken for it."""

    def __init__(self, pid: int) -> None:
        """Find the process. Raises `ProbeError` if it does not exist or may not be read."""
        self.pid = pid
        try:
            self._process = psutil.Process(pid)
            self.command = " ".join(self._process.cmdline()) or self._process.name()
            self._cpu = {self._process: self._cpu_seconds(self._process)}
            self._children: list[Any] = []
            self._scan_children()
            _descriptor_count(pid)
        except (
            psutil.NoSuchProcess,
            ProcessLookupError,
            FileNotFoundError,
            ValueError,
            OverflowError,
        ) as error:
            raise ProbeError(f"There is no process {pid} on this machine.") from error
        except (psutil.AccessDenied, PermissionError) as error:
            raise ProbeError(f"Process {pid} belongs to another user and may not be read.") from error
        self._samples = 0
        self._at = time.monotonic()

    def sample(self) -> ServerSample | None:
        """Return cores used since the last sample, and memory and descriptors now; None once it has ended.

        Memory shared between processes is counted for each. The kernel's CPU clock ticks every 10 ms.
        """
        try:
            if not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE:
                return None
            self._samples += 1
            if self._samples % CHILD_SCAN_SAMPLES == 0:
                self._scan_children()
            cpu, rss, descriptors = self._read(self._process)
        except _GONE_ERRORS:
            return None
        for child in self._children:
            try:
                if not child.is_running():
                    continue
                parts = self._read(child)
            except _GONE_ERRORS:  # it has ended; its CPU since the last sample is lost
                self._cpu.pop(child, None)
                continue
            cpu, rss, descriptors = cpu + parts[0], rss + parts[1], descriptors + parts[2]
        now = time.monotonic()
        elapsed, self._at = now - self._at, now
        return ServerSample(cpu=cpu / max(elapsed, 1e-3), rss_bytes=rss, descriptors=descriptors)

    def _scan_children(self) -> None:
        """Look up the children. CPU that a child used before it was first seen is not counted."""
        self._children = self._process.children(recursive=True)
        for child in self._children:
            if child not in self._cpu:
                with suppress(*_GONE_ERRORS):  # it has ended; the next sample skips it
                    self._cpu[child] = self._cpu_seconds(child)

    def _read(self, process: Any) -> tuple[float, int, int]:
        used = self._cpu_seconds(process)
        since = used - self._cpu.get(process, 0.0)
        self._cpu[process] = used
        return since, int(process.memory_info().rss), _descriptor_count(process.pid)

    @staticmethod
    def _cpu_seconds(process: Any) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)
