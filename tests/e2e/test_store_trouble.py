"""An unavailable or removed data file: senders are refused, nothing is lost, it recovers by itself."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from chat_server.engines.sqlite.files import LOOK_INTERVAL_S
from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import eventually
from support.processes.scrape import Scrape, free_port, http_get


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


# What is read back


def test_a_damaged_message_is_a_gap_and_all_else_is_served(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a server with three hundred messages, of which one is damaged while it is down
    port = free_port()
    server = start_server("--metrics-port", str(port), "--rate-messages", "0")
    ann = NdjsonPeer(server.port)
    welcome = ann.ask("hello", username="ann", resumable=True)
    eve = connect(server, "eve")
    for number in range(1, 301):
        eve.send_frame("message", message=f"number-{number:05d}")
    eve.expect("message", seq=300)
    ann.close()
    server.stop()
    data = (server.data / "greenroom.db").read_bytes()
    (server.data / "greenroom.db").write_bytes(data.replace(b"number-00200", b"number-\xff0200"))
    server.start()

    # When somebody comes back, the damaged one is a gap, and the others are there
    resume = {"session": welcome["session"], "epoch": welcome["epoch"], "rooms": {"lobby": 150}}
    ann = NdjsonPeer(server.port)
    ann.send_frame("hello", username="ann", resume=resume)
    assert ann.expect("welcome")["resumed"]
    got: list[Any] = []
    while len(got) < 150:
        frame = ann.next_frame()
        if frame["type"] in {"message", "gap"}:
            got.append(frame.get("seq") or (frame["first"], frame["last"]))
    ann.close()
    assert got == [*range(151, 200), (200, 200), *range(201, 301)]

    # And history goes around it, and messages go on
    bob = connect(server, "bob")
    page = bob.ask("history", room="lobby", before=203, limit=4)
    assert [one["seq"] for one in page["messages"]] == [198, 199, 201, 202]
    assert bob.say("on")["seq"] == 301

    # And the operator learns of it once, in the log, in a metric and by the probe, which stays ready
    line = server.wait_logged("row_unreadable")
    assert (line["level"], line["room"], line["seq"], line["last_seq"]) == ("error", "lobby", 200, 200)
    assert len(server.entries("row_unreadable")) == 1
    assert "number" not in line["error"]
    eventually(lambda: Scrape.of(port).value("greenroom_messages_unreadable") == 1, "the metric")
    probe = http_get(port, "/readyz")
    assert (probe.status, probe.body) == (
        200,
        "ready; 1 stored messages cannot be read (row_unreadable in the log)\n",
    )


def test_an_index_that_is_wrong_shows_no_private_message(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--rate-messages", "0")
    eve, zed = connect(server, "eve"), connect(server, "zed")
    for number in range(300):
        eve.send_frame("message", message=f"public {number}")
    secret = eve.say("SECRET", to=zed.username)
    assert zed.expect("message", room=secret["room"])["message"] == "SECRET"
    server.stop()
    with (
        closing(sqlite3.connect(server.data / "greenroom.db")) as log,
        closing(sqlite3.connect(server.data / "greenroom.db-index", isolation_level=None)) as index,
    ):
        (row,) = log.execute("SELECT id FROM log WHERE text = 'SECRET'").fetchone()
        index.execute("UPDATE place SET id = ? WHERE room = 1 AND seq = 20", (row,))
    server.start()
    page = connect(server, "ann").ask("history", room="lobby", after=0, limit=300)["messages"]
    assert [one["message"] for one in page] == [f"public {number}" for number in range(300)]
    assert server.wait_logged("index_rebuilt")["reason"] == "damaged"


# One server for a file, and a file of our own


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_second_server_on_another_name_of_the_file_is_refused(
    start_server: StartServer, connect: Connect, link: Callable[[Path, Path], None]
) -> None:
    server = start_server()
    ann = connect(server, "ann")
    ann.say("one")
    other = server.folder / "other.db"
    link(other, server.data / "greenroom.db")
    second = start_server("--store", f"sqlite:///{other}", wait=False)
    assert second.wait_exit() == 1
    assert f"in use by the server with process id {server.process.pid}" in second.stderr_text()
    assert ann.say("two")["seq"] == 2


def test_a_file_of_another_program_is_refused_untouched(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    server = start_server("--store", f"sqlite:///{path}", wait=False)
    assert server.wait_exit() == 1
    assert f"{path} is the database of another program: choose another --store" in server.stderr_text()
    assert path.read_bytes() == before
    assert not path.with_name("other.db-lock").exists()


# Files that change under the server


def remove(file: Path) -> None:
    file.unlink()


def cut_off(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-index", "-mark", "-lock"])
@pytest.mark.parametrize("change", [remove, cut_off])
def test_nothing_is_acknowledged_that_a_changed_file_would_lose(
    start_server: StartServer, connect: Connect, suffix: str, change: Callable[[Path], None]
) -> None:
    # Given a server with fifty messages, and then a silence that is longer than it goes without a look
    server = start_server("--store-patience", "0.1")
    ann = connect(server, "ann")
    for number in range(50):
        ann.say(str(number))
    time.sleep(3 * LOOK_INTERVAL_S)

    # When one of its files is removed or cut off, the very next message is refused, and the server lives
    change(server.data / f"greenroom.db{suffix}")
    for ref in ("v", "w"):
        ann.send_frame("message", message="into the void", ref=ref)
        assert ann.expect("error", ref=ref)["code"] == "unavailable"
    assert server.wait_logged("store_failed")["error"].endswith("while in use: restart the server")
    assert ann.ask("ping")["type"] == "pong"
    server.kill()

    # Then what was acknowledged is there, as far as the files that are left hold it
    if suffix in {"", "-wal"}:
        return
    server.start()
    page = connect(server, "bob").ask("history", room="lobby", after=0, limit=100)
    assert [one["message"] for one in page["messages"]] == [str(number) for number in range(50)]
