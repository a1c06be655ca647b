"""Opening the TCP connection: resolves the host, and tries its IP addresses in parallel (RFC 8305).

Threads do what may block, so that the time limit holds even for a resolver that never answers.
"""

import errno
import queue
import socket
import threading
import time
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Final, NamedTuple

from chat_client.address import Address
from chat_client.errors import ConnectionFailed

ATTEMPT_DELAY_S: Final = 0.25
"""Between the starts of two attempts, unless the first one fails before: RFC 8305, section 5."""
MAX_ATTEMPTS: Final = 16
"""IP addresses of a host that are tried; more would be a mistake or an attack."""

_LOCALHOST: Final = ("127.0.0.1", "::1")
"""Both loopback addresses, whatever the hosts file says (RFC 6761, section 6.3)."""


class Target(NamedTuple):
    """An IP address and port to connect to, as `getaddrinfo` returns it."""

    family: socket.AddressFamily
    address: tuple[object, ...]


def open_socket(address: Address, timeout: float) -> socket.socket:
    """Return a blocking socket connected to the first IP address of the host that accepts.

    `timeout` in seconds, for everything. Raises `ConnectionFailed`.
    """
    deadline = time.monotonic() + timeout
    targets = alternate_families(_resolve(address, timeout))[:MAX_ATTEMPTS]
    attempts = _Attempts(address, timeout, deadline)
    return attempts.connect_one(targets)


def alternate_families(targets: Iterable[Target]) -> list[Target]:
    """Return the targets with IPv6 and IPv4 in turns, each in the given order, beginning with the first's."""
    first: list[Target] = []
    second: list[Target] = []
    for target in dict.fromkeys(targets):
        (first if not first or target.family == first[0].family else second).append(target)
    return [target for target in chain.from_iterable(zip_longest(first, second)) if target is not None]


def _resolve(address: Address, timeout: float) -> list[Target]:
    """Return the IP addresses of a host, in the order of the system. Raises `ConnectionFailed`."""
    if address.host.lower().rstrip(".") == "localhost":
        return [target for ip in _LOCALHOST for target in _look_up(ip, address.port, socket.AI_NUMERICHOST)]
    try:
        return _look_up(address.host, address.port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a host name
    except ValueError as error:  # a host that IDNA cannot encode
        raise ConnectionFailed(f"{address}: not a host name: {error}") from error
    answers: queue.SimpleQueue[list[Target] | OSError | ValueError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_look_up(address.host, address.port, 0))
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=look_up, name="chat-client resolver", daemon=True).start()
    try:
        found = answers.get(timeout=timeout)
    except queue.Empty:
        raise ConnectionFailed(
            f"{address}: the address of host {address.host!r} is not known after {timeout:g} s"
        ) from None
    match found:
        case socket.gaierror():
            raise ConnectionFailed(f"{address}: unknown host {address.host!r} ({found.strerror})") from found
        case Exception():
            raise ConnectionFailed(f"{address}: {getattr(found, 'strerror', None) or found}") from found
        case _:
            return found


def _look_up(host: str, port: int, flags: int) -> list[Target]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Target(family, where) for family, _, _, _, where in found]


class _Attempts:
    """Attempts to connect to the IP addresses of one host; the first that succeeds is used."""

    def __init__(self, address: Address, timeout: float, deadline: float) -> None:
        self._address = address
        self._timeout = timeout
        self._deadline = deadline  # monotonic seconds
        self._results: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._chosen = False  # later successes are closed

    def connect_one(self, targets: list[Target]) -> socket.socket:
        """Return the first socket that is connected. Raises `ConnectionFailed`."""
        waiting = list(targets)
        running = 0
        problems: list[OSError] = []
        while waiting or running:
            if waiting:
                target = waiting.pop(0)
                running += 1
                if not waiting and running == 1:
                    self._attempt(target)  # the only one left: it needs no thread
                else:
                    threading.Thread(
                        target=self._attempt, args=(target,), name="chat-client connect", daemon=True
                    ).start()
            left = self._deadline - time.monotonic()
            try:
                result = self._results.get(timeout=max(0.0, min(ATTEMPT_DELAY_S, left) if waiting else left))
            except queue.Empty:
                if time.monotonic() >= self._deadline:
                    problems.append(TimeoutError())
                    break
                continue
            running -= 1
            if isinstance(result, socket.socket):
                return result
            problems.append(result)
        with self._lock:
            if not self._results.empty() and isinstance(late := self._results.get(), socket.socket):
                return late  # connected at the last instant
            self._chosen = True
        raise ConnectionFailed(f"{self._address}: {_explain(problems, self._timeout)}")

    def _attempt(self, target: Target) -> None:
        try:
            sock = socket.socket(target.family, socket.SOCK_STREAM)
        except OSError as error:
            self._results.put(error)
            return
        try:
            sock.settimeout(max(0.001, self._deadline - time.monotonic()))
            sock.connect(target.address)
            sock.settimeout(None)
        except OSError as error:
            sock.close()
            self._results.put(error)
            return
        with self._lock:
            if not self._chosen:
                self._chosen = True
                self._results.put(sock)
                return
        sock.close()


def _explain(problems: list[OSError], timeout: float) -> str:
    """Return why no IP address could be reached: the problem that says most about the server."""
    if not problems:
        return "the host has no IP address"
    if any(isinstance(problem, ConnectionRefusedError) for problem in problems):
        return "connection refused"
    if any(isinstance(problem, TimeoutError) for problem in problems):
        return f"no answer within {timeout:g} s"
    # This machine may have no IPv6, and the host an IPv6 address.
    unavailable = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    first = next((problem for problem in problems if problem.errno not in unavailable), *problems[:1])
    return first.strerror or str(first)
