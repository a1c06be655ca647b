"""The server seen from outside: cores, memory, descriptors.

Knows psutil and /proc. Must not know the server's code nor what the figures are used for. A sample costs 0.1
ms (every fifth one 1 ms), however many descriptors the server has, so it may be taken between two turns of
the loop.
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
"""Samples between two looks for new children of the server, which read all of /proc."""

_GONE_ERRORS: Final = (
    psutil.NoSuchProcess,
    psutil.AccessDenied,
    ProcessLookupError,
    PermissionError,
    FileNotFoundError,
)
_MAX_PARENT_GENERATIONS: Final = 8
"""Generations that are climbed in search of the process that opened a shared listening socket."""


class ProbeError(Exception):
    """The process that was named cannot be watched; the text says why."""


def _canonical_address(address: str) -> str:
    """Return an address in its one spelling, without zone; an IPv4 address that IPv6 wraps, unwrapped."""
    parsed = ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _resolve_all(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # a name that nobody knows is a matter for who connects; here it is just not this machine
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
    """Return the process ids of the sockets that take connections to the port of one of the addresses."""
    found = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            address = _canonical_address(connection.laddr.ip)
            if ip_address(address).is_unspecified or address in wanted:
                found.append(getattr(connection, "pid", None))
    return found


def find_server(host: str, port: int) -> int | None:
    """Return the id of the process on this machine that listens there; None if there is none to be seen.

    Reads all processes' descriptors, so it is for once, before the bots come. Where several processes share
    the socket it is the one that started the others.
    """
    wanted = {address for address in _resolve_all(host) if _is_local_address(address)}
    if not wanted:
        return None
    try:
        pids = _listener_pids(psutil.net_connections(kind="tcp"), wanted, port)
    except psutil.AccessDenied:  # macOS shows others' sockets to root alone
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
    """Return the number of open descriptors: since Linux 6.2 the folder's size says it, unread."""
    folder = Path("/proc") / str(pid) / "fd"
    if folder.parent.exists():
        return folder.stat().st_size or sum(1 for _ in folder.iterdir())
    return int(psutil.Process(pid).num_fds())


class ServerProbe:
    """One process and its children. A process that comes later under the same id is not taken for it."""

    def __init__(self, pid: int) -> None:
        """Begin to watch. ProbeError, if there is no such process or it may not be read."""
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
            raise ProbeError(f"Process {pid} belongs to somebody else and may not be watched.") from error
        self._samples = 0
        self._at = time.monotonic()

    def sample(self) -> ServerSample | None:
        """Return cores used since the last sample, memory and descriptors now; None once it has gone.

        Memory that processes share is counted in each. The clock of cpu time ticks every 10 ms.
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
            except _GONE_ERRORS:  # children come and go; what one used since the last sample goes with it
                self._cpu.pop(child, None)
                continue
            cpu, rss, descriptors = cpu + parts[0], rss + parts[1], descriptors + parts[2]
        now = time.monotonic()
        elapsed, self._at = now - self._at, now
        return ServerSample(cpu=cpu / max(elapsed, 1e-3), rss_bytes=rss, descriptors=descriptors)

    def _scan_children(self) -> None:
        """Look for new children. What one used before it was seen first belongs to no one second."""
        self._children = self._process.children(recursive=True)
        for child in self._children:
            if child not in self._cpu:
                with suppress(*_GONE_ERRORS):  # it has ended meanwhile, and the next sample says so too
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
