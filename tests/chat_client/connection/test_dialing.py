"""Connecting: addresses in parallel, a time limit that holds for the resolver, too."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chat_client import Address, ConnectionFailed
from chat_client.connection.dialing import Target, alternate_families, open_socket

Resolve = Callable[..., list[Any]]
PATIENCE_S = 3600.0  # longer than the test may take: what is tried one after the other never ends


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that accepts no connection and refuses none: its backlog is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[[Resolve], None]:
    """Let host names be resolved by a function; IP addresses are read as always."""
    real = socket.getaddrinfo

    def use(resolve: Resolve) -> None:
        def look_up(host: str, port: int, type: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002
            if flags & socket.AI_NUMERICHOST:
                return real(host, port, type=type, flags=flags)
            return resolve(host, port)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return use


def entry(where: tuple[str, int]) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", where)


def test_address_that_never_answers_does_not_keep_the_next_waiting(
    listener: socket.socket, black_hole: tuple[str, int], resolves: Any
) -> None:
    resolves(lambda *_: [entry(black_hole), entry(listener.getsockname())])
    with open_socket(Address("two.example", 1), PATIENCE_S) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.gettimeout() is None


def test_all_addresses_are_tried_when_some_refuse(listener: socket.socket, resolves: Any) -> None:
    refusing = [entry(("127.0.0.1", port)) for port in (1, 2, 3)]
    resolves(lambda *_: [*refusing, entry(listener.getsockname())])
    with open_socket(Address("four.example", 1), PATIENCE_S) as sock:
        assert sock.getpeername() == listener.getsockname()


def test_resolver_that_never_answers_is_not_waited_for(resolves: Any) -> None:
    answered = threading.Event()

    def never(*_: Any) -> list[Any]:
        answered.wait()
        return []

    resolves(never)
    try:
        with pytest.raises(ConnectionFailed, match=r"'mute\.example' is not known after 0\.2 s"):
            open_socket(Address("mute.example", 7072), 0.2)
    finally:
        answered.set()


def test_failure_of_the_resolver_names_the_host(resolves: Any) -> None:
    def fail(*_: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolves(fail)
    with pytest.raises(ConnectionFailed, match=r"unknown host 'no\.example' [(]Name or service not known"):
        open_socket(Address("no.example", 7072), 60)
    resolves(lambda *_: [])
    with pytest.raises(ConnectionFailed, match="the host has no IP address"):
        open_socket(Address("none.example", 7072), 60)


def test_black_hole_alone_fails_with_the_time_limit(black_hole: tuple[str, int]) -> None:
    with pytest.raises(ConnectionFailed, match=r"no answer within 0\.2 s"):
        open_socket(Address(*black_hole), 0.2)


def test_refusals_of_all_addresses_are_one_sentence(resolves: Any) -> None:
    resolves(lambda *_: [entry(("127.0.0.1", 1)), entry(("127.0.0.1", 2))])
    with pytest.raises(ConnectionFailed, match=r"^two\.example:9: connection refused$"):
        open_socket(Address("two.example", 9), 60)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost."])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_localhost_is_both_loopback_addresses(host: str, family: socket.AddressFamily, resolves: Any) -> None:
    def never(*_: Any) -> list[Any]:
        raise AssertionError("localhost needs no resolver")

    resolves(never)
    loopback = "127.0.0.1" if family is socket.AF_INET else "::1"
    try:
        server = socket.create_server((loopback, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server, open_socket(Address(host, server.getsockname()[1]), 60) as sock:
        assert sock.family == family


def test_host_that_is_no_name_is_refused() -> None:
    for host in ("a" * 70, "a\udce9"):
        with pytest.raises(ConnectionFailed, match="not a host name"):
            open_socket(Address(host, 7072), 60)


def test_families_take_turns_beginning_with_the_first() -> None:
    six = [Target(socket.AF_INET6, (f"::{number}", 1)) for number in range(3)]
    four = [Target(socket.AF_INET, (f"127.0.0.{number}", 1)) for number in range(2)]
    assert alternate_families([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert alternate_families([*four, *six, *six]) == [four[0], six[0], four[1], six[1], six[2]]
    assert alternate_families([]) == []
