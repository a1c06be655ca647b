"""The metrics of a real server."""

import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.process import ServerProcess, eventually
from support.processes.scrape import Scrape, free_port, http_get


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def measured(start_server: StartServer, port: int) -> ServerProcess:
    """A server with metrics, whose intervals are short."""
    flags = ("--metrics-port", str(port), "--log-interval", "0.1", "--ping-interval", "1")
    return start_server(*flags, "--drain-timeout", "0.2", "--node", "east-1")


def test_metrics_and_log_agree(measured: ServerProcess, port: int, connect: Connect, dial: Dial) -> None:
    # Given a server with some activity
    ann, bob = connect(measured, "ann"), connect(measured, "bob")
    for number in range(20):
        ann.say(f"hi {number}")
    bob.expect_refusal("join", room="@nobody")
    for peer in (ann, bob):
        peer.send_frame("pong", id=peer.expect("ping")["id"])
    dial(measured).send(b"GET / HTTP/1.1\r\n\r\n")
    measured.wait_logged("interval", messages=0, sessions=2)
    first = Scrape.of(port)
    assert first.value("greenroom_sessions") == 2
    assert first.value("greenroom_ready") == 1
    assert first.value("greenroom_build_info", version="0.1.0", node="east-1", store="sqlite", sync="normal")
    bob.send_frame("quit")
    bob.expect_bye()
    eventually(lambda: Scrape.of(port).value("greenroom_sessions_closed_total", reason="quit") == 1)

    # When it has been scraped for the last time, and stopped
    def settled() -> bool:
        """Return whether the interval lines include all activity."""
        entries = measured.entries("interval")
        return [sum(entry["opened"] for entry in entries), entries[-1]["sessions"]] == [2, 1]

    eventually(settled)
    last = Scrape.of(port)
    ann.close()
    assert measured.stop() == 0

    # Then the log's interval lines add up to the metrics, except for later bytes
    lines = measured.entries("interval")
    for metric, field in (
        ("greenroom_messages_total", "messages"),
        ("greenroom_commits_total", "commits"),
        ("greenroom_deliveries_total", "deliveries"),
        ("greenroom_sessions_opened_total", "opened"),
    ):
        assert last.value(metric) == sum(line[field] for line in lines), metric
    assert last.value("greenroom_accept_to_commit_seconds_count") == 20
    assert last.value("greenroom_errors_total", code="forbidden") == 1
    assert last.value("greenroom_errors_total", code="bad_frame") == 1
    assert last.value("greenroom_connections_refused_total", reason="bad_frame") == 1
    assert last.value("greenroom_rtt_seconds_count") > 0
    assert 0 < last.value("greenroom_sent_bytes_total") <= sum(line["bytes_out"] for line in lines)
    assert 0 < last.value("greenroom_received_bytes_total") <= sum(line["bytes_in"] for line in lines)

    # And no counter decreased, and the set of series did not change
    before, after = first.counters(), last.counters()
    assert before.keys() == after.keys()
    assert all(after[series] >= value for series, value in before.items())


def test_off_unless_asked_for(server: ServerProcess) -> None:
    tasks = Path(f"/proc/{server.process.pid}/net/tcp").read_text().splitlines()[1:]
    assert tasks
    inodes = {str(each.readlink()) for each in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    listening = [line.split() for line in tasks if line.split()[3] == "0A"]  # TCP_LISTEN
    own = [fields[1] for fields in listening if f"socket:[{fields[9]}]" in inodes]
    assert [int(address.split(":")[1], 16) for address in own] == [server.port]


def test_metrics_port_listens_on_loopback_by_default(measured: ServerProcess, port: int) -> None:
    assert measured.port
    with socket.socket() as probe:  # also this machine, but not the address that it listens on
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_metrics_port_in_use_leaves_no_data_behind(start_server: StartServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start_server("--metrics-port", str(taken.getsockname()[1]), wait=False)
        assert server.wait_exit() == 1
    assert "metrics port" in server.stderr_text()
    assert "in use" in server.stderr_text()
    assert not server.data.exists()


def test_a_failing_store_is_not_ready_and_comes_back(
    start_server: StartServer, connect: Connect, port: int
) -> None:
    # Given a server whose data file another program locks
    server = start_server("--metrics-port", str(port))
    ann = connect(server, "ann")
    ann.say("before")
    assert http_get(port, "/readyz").status == 200
    with closing(sqlite3.connect(server.data / "greenroom.db", isolation_level=None, timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        ann.send_frame("message", message="meanwhile", ref="m")

        # Then it is not ready, but alive
        eventually(lambda: http_get(port, "/readyz").status == 503)
        assert http_get(port, "/readyz").body == "the message store cannot be written\n"
        assert http_get(port, "/healthz").status == 200
        scrape = Scrape.of(port)
        assert (scrape.value("greenroom_store_failing"), scrape.value("greenroom_ready")) == (1, 0)
        assert scrape.value("greenroom_queue_bytes") > 0
        other.execute("ROLLBACK")

    # And after the lock is released, it is ready again
    assert ann.expect("message", ref="m")["seq"] == 2
    eventually(lambda: http_get(port, "/readyz").status == 200)
    eventually(lambda: Scrape.of(port).value("greenroom_store_failing") == 0)


def test_a_stopping_server_is_not_ready(start_server: StartServer, connect: Connect, port: int) -> None:
    # Given a server that stops while a peer stays connected
    server = start_server("--metrics-port", str(port), "--drain-timeout", "20")
    connect(server, "ann")
    server.send_signal(signal.SIGTERM)
    server.wait_logged("server_stopping")

    # Then it is not ready, and says why, until it has ended
    assert http_get(port, "/readyz").body == "the server is stopping\n"
    assert Scrape.of(port).value("greenroom_ready") == 0


def test_killed_server_restarts_on_its_metrics_port(measured: ServerProcess, port: int) -> None:
    assert http_get(port, "/healthz").status == 200
    measured.kill()
    measured.start()
    assert http_get(port, "/healthz").status == 200
    assert Scrape.of(port).value("greenroom_epoch_changed") == 0
