"""The metrics port, and its misuse. Peers are greenlets: the loop must run meanwhile."""

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import gevent
import gevent.socket
import pytest

from chat_server.observability.metrics import http
from chat_server.observability.metrics.http import MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_READS, MetricsServer
from support.log_files.log_setup import open_files, until
from support.processes.process import TIMEOUT_S
from support.processes.scrape import http_get


class Snapshots:
    """Takes snapshots, and counts them."""

    def __init__(self) -> None:
        self.taken = 0
        self.hub = gevent.get_hub()

    def take(self) -> Any:
        assert gevent.get_hub() is self.hub, "a snapshot belongs to the chat's loop"
        self.taken += 1
        return Taken(self.hub, self.taken)


class Taken:
    """A snapshot with its number as value."""

    def __init__(self, hub: Any, number: int) -> None:
        self.hub = hub
        self.number = number

    def values(self) -> dict[str, float]:
        assert gevent.get_hub() is not self.hub, "a page does not"
        return {"greenroom_sessions": self.number}


class Site:
    """A running metrics server."""

    def __init__(self, take: Callable[[], Any], trouble: str, warning: str = "") -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.failures: list[Exception] = []
        self.server = MetricsServer(
            [listening],
            ["chat.example"],
            take,
            lambda: trouble,
            self.failures.append,
            warning=lambda: warning,
        )
        self.port = self.server.port
        self.server.start()

    def dial(self) -> Any:
        return gevent.socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def ask(self, request: bytes) -> bytes:
        peer = self.dial()
        try:
            peer.sendall(request)
            return rest(peer)
        finally:
            peer.close()

    def get(self, path: str) -> bytes:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def rest(peer: Any) -> bytes:
    """Return all bytes until the peer closes; stop at a reset."""
    got = b""
    try:
        while data := peer.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture
def snapshots() -> Snapshots:
    return Snapshots()


@pytest.fixture
def open_site(snapshots: Snapshots) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start(take: Callable[[], Any] = snapshots.take, trouble: str = "", warning: str = "") -> Site:
        sites.append(Site(take, trouble, warning))
        return sites[-1]

    yield start
    for site in sites:
        site.server.stop()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    return open_site()


def test_server_answers_its_three_paths(site: Site) -> None:
    metrics = site.get("/metrics")
    assert metrics.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert b"\ngreenroom_sessions 1.0\n" in metrics
    assert site.get("/healthz").endswith(b"\r\n\r\nok\n")
    assert site.get("/readyz?verbose=1").endswith(b"\r\n\r\nready\n")


def test_readyz_with_a_warning_is_ready(open_site: Callable[..., Site]) -> None:
    answer = open_site(warning="3 stored messages cannot be read").get("/readyz")
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\nready; 3 stored messages cannot be read\n")


def test_readyz_not_ready_gives_reason(open_site: Callable[..., Site]) -> None:
    answer = open_site(trouble="the message store cannot be written").get("/readyz")
    assert status(answer) == 503
    assert answer.endswith(b"\r\n\r\nthe message store cannot be written\n")


def test_head_request_has_no_body(site: Site) -> None:
    answer = site.ask(b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 3\r\n" in answer


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\nsome body", 405),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET //metrics HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../metrics HTTP/1.1\r\n\r\n", 404),
        (b"GET /%6Detrics HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET http://127.0.0.1/metrics HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics HTTP/2\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\xff\xfe \xff \xff\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, 431),
        (b"G" * 10 * MAX_HEAD_BYTES, 431),
        (b"GET /metrics HTTP/1.1\r\nAccept: " + b"\xff;version=1e999," * 90 + b"\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\naccept:\r\nAccept\r\n:\r\n\r\n", 200),
    ],
)
def test_malformed_request_gets_status_code(site: Site, request_: bytes, code: int) -> None:
    assert status(site.ask(request_)) == code
    assert status(site.get("/metrics")) == 200
    assert not site.failures


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:7073", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1:7073", 200),
        ("[::1]:7073", 200),
        ("192.0.2.7:80", 200),
        ("chat.example", 200),  # --metrics-host
        ("Chat.Example:7073", 200),
        ("evil.example", 421),
        ("evil.example:7073", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("chat.example.evil", 421),
        ("[evil]", 421),
        ("2130706433", 421),
        ("", 421),
        ("localhost\r\nHost: evil.example", 400),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_request_for_another_host_is_refused(site: Site, host: str, status: int, path: str) -> None:
    answer = site.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    expected = 404 if status == 200 and path == "/nothing" else status
    assert answer.startswith(f"HTTP/1.1 {expected} ".encode())
    assert (b"greenroom_" in answer) == (status == 200 and path == "/metrics")


def test_request_in_too_many_pieces_gets_431(site: Site) -> None:
    peer = site.dial()
    sent = b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * MAX_READS
    answered = gevent.spawn(rest, peer)
    for byte in sent:
        if answered.ready():
            break
        try:
            peer.sendall(bytes([byte]))
        except OSError:
            break
        gevent.sleep(0.001)
    assert status(answered.get(timeout=TIMEOUT_S)) == 431
    peer.close()


def test_idle_connections_cannot_occupy_all_slots(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTION_DEADLINE_S", 60.0)
    # Given more peers than slots, each of which begins a request and never ends it
    idle = [site.dial() for _ in range(2 * MAX_CONNECTIONS)]
    for peer in idle:
        peer.sendall(b"GET /metrics HT")

    # Then a scraper is served all the same, and the oldest peers are closed
    assert status(site.get("/metrics")) == 200
    assert rest(idle[0]) == b""
    for peer in idle:
        peer.close()


def test_unfinished_request_is_closed_at_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTION_DEADLINE_S", 0.1)
    slow = site.dial()
    slow.sendall(b"GET /metrics HT")
    assert rest(slow) == b""
    slow.close()


def test_unread_response_is_closed_at_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECTION_DEADLINE_S", 0.1)
    deaf = site.dial()
    deaf.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    until(lambda: not site.server._connections)
    deaf.close()


def test_concurrent_scrapes_share_one_snapshot(
    site: Site, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SNAPSHOT_MAX_AGE_S", 60.0)
    peers = [gevent.spawn(site.get, "/metrics") for _ in range(MAX_CONNECTIONS)]
    gevent.joinall(peers, timeout=TIMEOUT_S)
    assert {status(peer.value) for peer in peers} == {200}
    assert snapshots.taken == 1


def test_outdated_snapshot_is_replaced(
    site: Site, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SNAPSHOT_MAX_AGE_S", 0.0)
    for number in (1.0, 2.0):
        assert f"\ngreenroom_sessions {number}\n".encode() in site.get("/metrics")
    assert snapshots.taken == 2


def test_blocked_loop_does_not_block_health_checks(
    open_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a loop that is blocked
    monkeypatch.setattr(http, "LOOP_TIMEOUT_S", 0.1)
    site = open_site(trouble="the event loop has not run for 7 s")
    found: dict[str, int] = {}

    def ask() -> None:
        for path in ("/healthz", "/readyz", "/metrics"):
            found[path] = http_get(site.port, path).status

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()  # this thread runs the loop

    # Then health checks are answered, and metrics are unavailable
    assert found == {"/healthz": 200, "/readyz": 503, "/metrics": 503}

    # And when the loop runs again, metrics are back
    assert status(site.get("/metrics")) == 200


def test_exception_costs_one_response_and_is_reported(open_site: Callable[..., Site]) -> None:
    class Broken:
        def values(self) -> NoReturn:
            raise RuntimeError("ours")

    site = open_site(take=Broken)
    assert status(site.get("/metrics")) == 500
    assert [str(failure) for failure in site.failures] == ["ours"]
    assert status(site.get("/healthz")) == 200


def test_stop_leaves_no_threads_and_files(snapshots: Snapshots) -> None:
    threads, files = threading.active_count(), open_files()
    for _ in range(3):
        site = Site(snapshots.take, "")
        idle = site.dial()
        assert status(site.get("/metrics")) == 200
        site.server.stop()
        with pytest.raises(OSError, match="refused"):
            site.dial()
        assert rest(idle) == b""
        idle.close()
        gc.collect()
    assert threading.active_count() == threads
    assert open_files() <= files + 1  # the event loop of the tests itself


def test_stop_right_after_start_works(snapshots: Snapshots) -> None:
    for _ in range(20):
        Site(snapshots.take, "").server.stop()
