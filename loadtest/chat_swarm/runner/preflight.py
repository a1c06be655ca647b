"""Checks before a run and before Locust forks: descriptors, host, source addresses, server pid, directory."""

import resource
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from chat_swarm.bots.connection import SocketAddress
from chat_swarm.bots.local_ports import read_local_ports
from chat_swarm.bots.source_addresses import LOOPBACK_NETWORK, SourceAddresses
from chat_swarm.model.plan import RunPlan
from chat_swarm.results.run_directory import RUNS_DIRECTORY, RunDirectory, RunDirectoryError
from chat_swarm.runner import server_log
from chat_swarm.runner.server_probe import ProbeError, ServerProbe

SPARE_DESCRIPTORS: Final = 200
"""Descriptors that a bot process needs besides its connections."""


def resolve_server(host: str, port: int) -> SocketAddress:
    """Return the server's address, IPv4 if it has one. Raises `OSError` with a sentence if there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(error.errno, f"cannot resolve {host!r}: {error.strerror or error}") from error
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    address: Any = found[0][4]
    return address[:2] if found[0][0] == socket.AF_INET else address  # type: ignore[no-any-return]


def find_problem(plan: RunPlan, bots: int = 0) -> str:
    """Return why the run cannot work, with the way out; "" if no problem is known.

    `bots` is the number of bots per process.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if bots + SPARE_DESCRIPTORS > most:
        return (
            f"{bots:,} bots per process need {bots + SPARE_DESCRIPTORS:,} open files; the limit is {most:,}:"
            " raise the hard limit (ulimit -Hn), or give fewer users (-u) or more --processes"
        )
    try:
        target = resolve_server(plan.host, plan.port)
    except OSError as error:
        return f"{error.strerror}; give the server's address with --host"
    try:
        SourceAddresses(ip_address(target[0]), plan.source_addresses)
    except ValueError as error:
        return f"--source-addresses: {error}"
    ports = read_local_ports()
    addresses = len(plan.source_addresses) or 1
    unlimited = not plan.source_addresses and ip_address(target[0]) in LOOPBACK_NETWORK
    if bots > ports.size * addresses and not unlimited:
        return f"{bots:,} bots per process need as many local ports; {ports.exhausted_sentence}"
    try:
        if plan.server_pid:
            ServerProbe(plan.server_pid)
    except ProbeError as error:
        return f"--server-pid: {error}"
    if plan.server_log is not None and (complaint := server_log.find_problem(plan.server_log)):
        return complaint
    try:
        if plan.report is not None:
            RunDirectory.create(plan.report, "")
        else:
            _try_to_write(Path(RUNS_DIRECTORY))
    except RunDirectoryError as error:
        return str(error)
    return ""


def find_unbindable_source(plan: RunPlan) -> str:
    """Return a sentence that names the first source address that this machine cannot bind; "" if none."""
    for source in plan.source_addresses:
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((str(source), 0))
        except OSError as error:
            return (
                f"--source-addresses: {source} cannot be bound on this machine ({error.strerror or error});"
                " give addresses that it has (ip address shows them)"
            )
    return ""


def _try_to_write(parent: Path) -> None:
    try:
        parent.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"x")
    except OSError as error:
        raise RunDirectoryError(
            f"{parent.absolute()} cannot be written to ({error.strerror or error}):"
            " choose another directory with --report"
        ) from None
