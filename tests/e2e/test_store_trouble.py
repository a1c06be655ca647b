"""An unavailable or removed data file: senders are refused, nothing is lost, it recovers by itself."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.process import eventually
from support.processes.scrape import free_port, http_get


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of an SQLite file, as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        eventually(lambda: begun(other), "the lock")
        yield
        other.execute("ROLLBACK")


def begun(other: sqlite3.Connection) -> bool:
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:  # the server is writing
        return False
    return True


def test_a_locked_store_refuses_after_a_while_and_comes_back(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a server whose data file is locked for longer than --store-patience
    server = start_server("--store-patience", "0.3")
    ann = connect(server, "ann")
    ann.say("before")
    with locked(server.data / "greenroom.db"):
        ann.send_frame("message", message="meanwhile", ref="m")
        refused = ann.expect("error", ref="m")

    # Then the sender gets `unavailable`, and a retry succeeds after the lock
    assert refused["code"] == "unavailable"
    ann.send_frame("message", message="meanwhile", ref="m")
    assert ann.expect("message", ref="m")["seq"] == 2

    # And the log has its begin and end, without a traceback on standard error
    server.wait_logged("store_failed")
    assert server.wait_logged("batch_refused")["count"] == 1
    server.wait_logged("store_recovered")
    assert "Traceback" not in server.stderr_text()


def test_locked_index_is_logged_once(start_server: StartServer, connect: Connect) -> None:
    server = start_server()
    ann = connect(server, "ann")
    with locked(server.data / "greenroom.db-index"):
        ann.say("stored all the same")
        server.wait_logged("index_failed")
    assert len(server.entries("index_failed")) == 1
    assert "Traceback" not in server.stderr_text()


def test_another_program_may_look_into_the_data_file(start_server: StartServer, connect: Connect) -> None:
    # Given a server whose data file another program opens, reads and closes
    server = start_server()
    ann = connect(server, "ann")
    ann.say("before")
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM log').fetchall()"
    subprocess.run([sys.executable, "-c", look, str(server.data / "greenroom.db")], check=True)

    # Then later messages survive a kill
    ann.say("after")
    server.kill()
    server.start()
    history = connect(server, "bob").ask("history", room="lobby")
    assert [message["message"] for message in history["messages"]] == ["before", "after"]
    assert not server.entries("epoch_changed")


def test_the_log_says_once_that_the_store_fails_and_is_back(
    start_server: StartServer, connect: Connect
) -> None:
    server = start_server("--store-patience", "0.05")
    ann = connect(server, "ann", resumable=True)
    with locked(server.data / "greenroom.db"):
        for number in range(5):
            ann.send_frame("message", message="m", ref=f"r{number}")
            ann.expect("error", ref=f"r{number}")
    ann.say("after")
    server.wait_logged("store_recovered")
    assert len(server.entries("store_failed")) == len(server.entries("store_recovered")) == 1


def test_failed_store_without_traffic_stays_not_ready_until_it_works(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a server whose data file another program locks, and one refused message
    port = free_port()
    server = start_server("--store-patience", "0.1", "--metrics-port", str(port))
    ann = connect(server, "ann")
    ann.say("before")
    with locked(server.data / "greenroom.db"):
        ann.send_frame("message", message="meanwhile", ref="m")
        ann.expect("error", ref="m")

        # Then it is not ready while the lock is held, though it retries by itself
        eventually(lambda: http_get(port, "/readyz").status == 503, "not ready")
        server.wait_logged("batch_refused")
        assert http_get(port, "/readyz").body == "the message store cannot be written\n"
        assert not server.entries("store_recovered")

    # And it is ready again after the lock, without having stored anything
    eventually(lambda: http_get(port, "/readyz").status == 200, "ready")
    server.wait_logged("store_recovered")
    ann.send_frame("message", message="after", ref="a")
    assert ann.expect("message", ref="a")["seq"] == 2


@pytest.mark.parametrize("file", ["greenroom.db", "greenroom.db-wal"])
def test_a_data_file_that_is_gone_is_noticed(start_server: StartServer, connect: Connect, file: str) -> None:
    # Given a server whose data file is removed
    server = start_server("--store-patience", "0.1")
    ann = connect(server, "ann")
    ann.say("before")
    (server.data / file).unlink()
    noticed = server.wait_logged("index_failed")

    # Then no message is acknowledged any more
    assert "removed or replaced" in noticed["error"]
    ann.send_frame("message", message="into the void", ref="v")
    assert ann.expect("error", ref="v")["code"] == "unavailable"


def test_a_port_in_use_leaves_no_data_file(start_server: StartServer) -> None:
    port = str(start_server("--store", "memory").port)
    second = start_server("--port", port, wait=False)
    assert second.wait_exit() == 1
    assert not second.data.exists()
