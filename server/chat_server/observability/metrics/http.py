"""HTTP server for `/metrics` (Prometheus), `/healthz` and `/readyz` (service managers).

It runs in a native thread with an event loop of its own, so that its clients put no load on the chat's loop.
Only the snapshot is taken in the chat's loop: a watcher's `send`, the one call that may cross threads,
requests it. Everything is bounded: connections at once and per second, bytes and seconds of each connection,
snapshots per second. When all connections are in use, the oldest is closed for a new one, so nobody can
occupy all of them.

A request whose `Host` is none of the server's own names gets 421: a web page whose name is made to resolve to
this machine (DNS rebinding) could read the metrics else.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import gevent
import gevent.socket
from gevent.event import Event

from chat_server.observability.metrics.exposition import Format, render_page
from chat_server.observability.metrics.snapshot import Snapshot, Value

MAX_HEAD_BYTES: Final = 8 * 1024
"""Bytes of a request; a scraper sends about 300."""
MAX_READS: Final = 64
"""Reads per request: a request sent byte by byte would cost a wakeup of the thread for each."""
MAX_CONNECTIONS: Final = 16
"""Connections at once: a quarter of the spare descriptors (net/listener.py)."""
LISTEN_BACKLOG: Final = 64
"""Connections queued in the kernel: at a hundred a second none waits longer than a scraper's timeout."""
CONNECTION_DEADLINE_S: Final = 5.0
"""Seconds for a whole connection, from accept to close."""
ACCEPT_PAUSE_S: Final = 0.01
"""Seconds between two accepts: a hundred a second are more than needed, and cost next to nothing."""
SNAPSHOT_MAX_AGE_S: Final = 0.2
"""Seconds for which a snapshot is reused: the chat's loop takes at most five a second."""
LOOP_TIMEOUT_S: Final = 2.0
"""Seconds to wait for a snapshot; after that the chat's loop counts as blocked."""
PLAIN_TEXT: Final = "text/plain; charset=utf-8"


class _Response(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN_TEXT


class MetricsServer:
    """Serves `/metrics`, `/healthz` and `/readyz`. Its methods MUST be called in the chat's thread."""

    def __init__(
        self,
        listening: Sequence[socket.socket],
        names: Sequence[str],
        take_snapshot: Callable[[], Snapshot],
        not_ready_reason: Callable[[], str],
        on_failed: Callable[[Exception], None],
        *,
        warning: Callable[[], str] = lambda: "",
    ) -> None:
        """`names`: host names under which it may be asked, besides `localhost` and IP addresses.

        `take_snapshot` runs in the loop that calls `start`, the others in the thread of the server. `warning`
        returns what is wrong although the server is ready.
        """
        self._listening = list(listening)
        self._names = frozenset({"localhost", *(name.lower().rstrip(".") for name in names)})
        self._port = int(listening[0].getsockname()[1])
        self._on_failed = on_failed
        self._take_snapshot = take_snapshot
        self._not_ready_reason = not_ready_reason
        self._warning = warning
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._chat_loop_wake: Any = None  # wakes the chat's loop
        self._own_loop_wake: Any = None  # wakes this thread's loop
        self._stopping = False
        self._stop_requested: Event
        self._latest: tuple[float, Snapshot] | None = None  # time and snapshot; written by the chat's loop
        self._snapshot_waiters: list[Event] = []  # this and all below is used in the thread only
        self._rendered: Snapshot | None = None
        self._values: dict[str, Value] = {}
        self._pages: dict[Format, bytes] = {}
        self._connections: dict[Any, gevent.Greenlet] = {}

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._port

    def start(self) -> None:
        """Listen, and start the thread."""
        for sock in self._listening:
            sock.listen(LISTEN_BACKLOG)
        self._chat_loop_wake = gevent.get_hub().loop.async_(ref=False)
        self._chat_loop_wake.start(self._provide_snapshot)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and close the port."""
        self._stopping = True
        if self._own_loop_wake is not None:  # else the thread has yet to start, and will see `_stopping`
            self._own_loop_wake.send()
        self._thread.join(timeout=LOOP_TIMEOUT_S)
        self._chat_loop_wake.stop()
        self._chat_loop_wake.close()

    def _provide_snapshot(self) -> None:
        """Take a snapshot and wake the thread. Runs in the chat's loop."""
        self._latest = (time.monotonic(), self._take_snapshot())
        self._own_loop_wake.send()

    # The thread

    def _run(self) -> None:
        gevent_hub = gevent.get_hub()
        self._stop_requested = Event()
        own_loop_wake = gevent_hub.loop.async_()
        own_loop_wake.start(self._on_wake)
        self._own_loop_wake = own_loop_wake
        listeners = [gevent.socket.socket(fileno=sock.detach()) for sock in self._listening]
        accepting = [gevent.spawn(self._accept, listener) for listener in listeners]
        if not self._stopping:
            self._stop_requested.wait()
        gevent.killall([*accepting, *self._connections.values()])
        for listener in listeners:
            listener.close()
        own_loop_wake.close()
        gevent_hub.destroy(destroy_loop=True)

    def _on_wake(self) -> None:
        waiting, self._snapshot_waiters = self._snapshot_waiters, []
        for one in waiting:
            one.set()
        if self._stopping:
            self._stop_requested.set()

    def _accept(self, listener: Any) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # the peer has gone, or no descriptor is left
                gevent.sleep(ACCEPT_PAUSE_S)
                continue
            if len(self._connections) >= MAX_CONNECTIONS:
                oldest, greenlet = next(iter(self._connections.items()))
                self._close(oldest)
                greenlet.kill(block=False)
            self._connections[sock] = gevent.spawn(self._serve, sock)
            gevent.sleep(ACCEPT_PAUSE_S)

    def _close(self, sock: Any) -> None:
        self._connections.pop(sock, None)
        sock.close()

    def _serve(self, sock: Any) -> None:
        try:
            with gevent.Timeout(CONNECTION_DEADLINE_S, False):
                head = _read_head(sock)
                if head:
                    sock.sendall(self._respond(head))
                    sock.shutdown(socket.SHUT_WR)
                    # A close with unread bytes would reset the connection and lose the response (RFC 1122,
                    # 4.2.2.13).
                    for _ in range(MAX_READS):
                        if not sock.recv(MAX_HEAD_BYTES):
                            break
        except OSError:
            pass  # the peer has gone
        finally:
            self._close(sock)

    def _respond(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        bare = words[0] == "HEAD"
        try:
            response = self._route(words, head)
        except Exception as error:  # noqa: BLE001  a bug of ours costs one response only
            self._on_failed(error)
            response = _status_response(HTTPStatus.INTERNAL_SERVER_ERROR)
        lines = (
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            *(("Allow: GET, HEAD",) if response.status is HTTPStatus.METHOD_NOT_ALLOWED else ()),
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if bare else response.body)

    def _route(self, words: list[str], head: bytes) -> _Response:
        if b"\r\n\r\n" not in head:
            return _status_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _status_response(HTTPStatus.BAD_REQUEST)
        if words[0] not in {"GET", "HEAD"}:
            return _status_response(HTTPStatus.METHOD_NOT_ALLOWED)
        hosts = _headers(head, b"host")
        if len(hosts) > 1:  # RFC 9112, 3.2; a request without any is no browser's
            return _status_response(HTTPStatus.BAD_REQUEST)
        if hosts and not self._is_own_name(hosts[0]):
            return _Response(
                HTTPStatus.MISDIRECTED_REQUEST,
                b"this port answers to localhost, to IP addresses and to the name given as --metrics-host\n",
            )
        match words[1].partition("?")[0]:
            case "/metrics":
                return self._metrics_response("".join(_headers(head, b"accept")[:1]))
            case "/healthz":
                return _Response(HTTPStatus.OK, b"ok\n")
            case "/readyz":
                reason = self._not_ready_reason()
                if reason:
                    return _Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode())
                warning = self._warning()
                return _Response(HTTPStatus.OK, f"ready; {warning}\n".encode() if warning else b"ready\n")
        return _Response(HTTPStatus.NOT_FOUND, b"not found; this port has /metrics, /healthz and /readyz\n")

    def _is_own_name(self, host: str) -> bool:
        """Return whether a `Host` header names this server: by name or IP address, with any port."""
        name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        if name.lower().rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _metrics_response(self, accept: str) -> _Response:
        snapshot = self._fresh_snapshot()
        if snapshot is None:
            return _Response(HTTPStatus.SERVICE_UNAVAILABLE, b"the event loop does not answer\n")
        if snapshot is not self._rendered:
            self._rendered, self._values, self._pages = snapshot, snapshot.values(), {}
        form = Format.wanted(accept)
        if form not in self._pages:
            self._pages[form] = render_page(self._values, form)
        return _Response(HTTPStatus.OK, self._pages[form], form.value)

    def _fresh_snapshot(self) -> Snapshot | None:
        """Return a recent snapshot, None if the chat's loop is blocked. May wait (in this thread's loop)."""
        if self._latest is None or time.monotonic() - self._latest[0] > SNAPSHOT_MAX_AGE_S:
            handed_over = Event()
            self._snapshot_waiters.append(handed_over)
            self._chat_loop_wake.send()  # several before the loop runs are one
            if not handed_over.wait(LOOP_TIMEOUT_S):
                self._snapshot_waiters.remove(handed_over)
                return None
        return self._latest[1] if self._latest else None


def _status_response(status: HTTPStatus) -> _Response:
    return _Response(status, f"{status.phrase}\n".encode())


def _headers(head: bytes, name: bytes) -> list[str]:
    """Return the values of a header."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [value.strip().decode("latin-1") for key, _, value in pairs if key.strip().lower() == name]


def _read_head(sock: Any) -> bytes:
    """Return the request up to the empty line, or too much without one; empty if the peer hangs up before."""
    head = b""
    for _ in range(MAX_READS):
        data = sock.recv(MAX_HEAD_BYTES)
        if not data:
            return b""
        head += data
        if len(head) > MAX_HEAD_BYTES or b"\r\n\r\n" in head:
            break
    return head[:MAX_HEAD_BYTES]
