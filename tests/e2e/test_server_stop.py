"""Signals, and what survives a stop or a kill."""

import os
import shutil
import signal
import threading
from datetime import datetime
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import Frame, NdjsonPeer
from support.processes.process import ServerProcess, eventually, matching_lines
from support.processes.wire import ConnectionEnded


def whole_history(peer: NdjsonPeer, room: str = "lobby") -> list[Frame]:
    """Return all messages of a room."""
    read: list[Frame] = []
    while True:
        page = peer.ask("history", room=room, after=read[-1]["seq"] if read else 0, limit=500)
        read += page["messages"]
        if not page["more"]:
            return read


def send_in_thread(peer: NdjsonPeer, count: int) -> threading.Thread:
    """Send `count` messages from another thread, until the connection ends."""

    def run() -> None:
        try:
            for number in range(count):
                peer.send_frame("message", message=f"m{number}", ref=f"r{number}")
        except OSError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def acknowledged(peer: NdjsonPeer) -> tuple[list[Frame], Frame | None]:
    """Read to the end; return the peer's own messages, and the `bye` if there was one."""
    own: list[Frame] = []
    try:
        while (frame := peer.next_frame())["type"] != "bye":
            if frame["type"] == "message" and frame["from"] == peer.id:
                own.append(frame)
    except (ConnectionEnded, ConnectionResetError):
        return own, None
    return own, frame


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("sync", ["normal", "full"])
def test_a_stop_loses_nothing(
    start_server: StartServer, connect: Connect, number: signal.Signals, sync: str
) -> None:
    # Given a client that sends continuously, and others in every dialect
    server = start_server("--rate-messages", "0", "--sync", sync, "--drain-timeout", "60")
    ann, bob = connect(server, "ann"), connect(server, "bob")
    text, simple = connect(server), connect(server)
    text.send(b"hello\n")
    simple.send(b'{"username":"sue","message":"hello"}\n')
    for one in (text, simple):
        assert one.read_line()
    thread = send_in_thread(ann, 50_000)
    ann.expect("message", ref="r50")

    # When the server gets the signal
    server.send_signal(number)

    # Then every client gets bye, with a time to come back
    own, bye = acknowledged(ann)
    ann.close()
    thread.join()
    assert bye is not None
    assert bye["reason"] == "shutdown"
    assert 0 <= bye["after"] <= 5
    assert bob.expect("bye")["reason"] == "shutdown"
    assert b"shutting down" in text.read_to_end()
    assert b"shutting down" in simple.read_to_end()
    for one in (bob, text, simple):
        one.close()

    # And the log ends in order: sessions, last interval, server_stopped
    assert server.wait_exit() == 0
    events = [entry["event"] for entry in server.entries()]
    assert events[-2:] == ["interval", "server_stopped"]
    assert events.count("session_closed") == 4
    assert server.entries("server_stopping", reason=number.name)
    assert server.entries("interval")[-1]["sessions"] == 0

    # And exactly the acknowledged messages are stored
    server.start()
    stored = [frame for frame in whole_history(connect(server, "reader")) if frame["from"] == ann.id]
    assert [frame["ref"] for frame in stored] == [f"r{number}" for number in range(51 + len(own))]
    assert stored[51:] == own


def test_stop_acknowledges_a_slow_reader_before_its_bye(start_server: StartServer, connect: Connect) -> None:
    # Given a peer that has not read for a while, and whose own message waits behind those of others
    flags = ("--rate-messages", "0", "--rate-bytes", "0", "--outbox-bytes", "64K", "--drain-timeout", "60")
    server = start_server(*flags)
    ann, bob = connect(server, "ann", wire={"receive_buffer": 4096}), connect(server, "bob")
    for _ in range(500):
        bob.say("x" * 4000)
    server.wait_logged("reader_lagging", username=ann.username)
    ann.send_frame("message", message="mine", ref="mine")
    bob.expect("message", ref="mine")

    # When the server is stopped
    server.send_signal(signal.SIGTERM)
    assert bob.expect_bye()["reason"] == "shutdown"
    bob.close()

    # Then the message is acknowledged before the bye
    ann.expect("message", ref="mine")
    assert ann.expect_bye()["reason"] == "shutdown"
    ann.close()
    assert server.wait_exit() == 0


def test_stop_with_peer_still_connected_logs_it_once(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory", "--drain-timeout", "0.2")
    ann = connect(server, "ann")
    assert server.stop() == 0
    assert len(server.entries("session_closed")) == 1
    assert server.entries("interval")[-1]["closed"] == {"shutdown": 1}
    ann.close()


def test_two_signals_in_a_row_are_one_graceful_stop(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory", "--drain-timeout", "60")
    peers = [connect(server, f"user{number}") for number in range(5)]

    server.send_signal(signal.SIGINT)
    server.send_signal(signal.SIGTERM)

    for peer in peers:
        assert peer.expect_bye()["reason"] == "shutdown"
        peer.close()
    assert server.wait_exit() == 0
    assert server.entries()[-1]["event"] == "server_stopped"


def test_a_signal_a_second_after_the_first_stops_at_once(start_server: StartServer, connect: Connect) -> None:
    # Given a stopping server that waits for a connected peer
    server = start_server("--store", "memory", "--drain-timeout", "60")
    ann = connect(server, "ann")
    server.send_signal(signal.SIGTERM)
    ann.expect("bye")

    # When it gets further signals, then it ends with the first that comes a second later
    def stopped() -> bool:
        server.send_signal(signal.SIGINT)
        return server.process.poll() is not None

    eventually(stopped)
    assert server.wait_exit() == 1
    (last,) = server.entries("server_stopped")
    assert (last["reason"], last["signal"], last["level"]) == ("second_signal", "SIGINT", "warning")
    assert server.entries()[-1] == last
    began, ended = (datetime.fromisoformat(server.entries(event)[0]["ts"]) for event in STOP_EVENTS)
    assert (ended - began).total_seconds() >= 0.99


STOP_EVENTS = ("server_stopping", "server_stopped")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE])
def test_other_signals_during_the_stop_are_harmless(
    start_server: StartServer, connect: Connect, number: signal.Signals
) -> None:
    server = start_server("--drain-timeout", "60", log_file=True)
    ann = connect(server, "ann")
    server.send_signal(signal.SIGTERM)
    ann.expect("bye")

    def stopped() -> bool:
        server.send_signal(number)
        ann.close()
        return server.process.poll() is not None

    eventually(stopped)
    assert server.wait_exit() == 0
    assert server.entries("server_stopped", reason="SIGTERM")


def test_stop_without_the_data_folder_ends_in_order(start_server: StartServer) -> None:
    # Given a server whose data was removed, which also writes its interval lines
    server = start_server("--log-interval", "0.1")
    shutil.rmtree(server.data)
    count = len(server.entries("interval"))
    eventually(lambda: len(server.entries("interval")) > count + 2)

    # When it is stopped, then it ends as ever
    assert server.stop() == 0
    assert server.entries()[-1]["event"] == "server_stopped"
    assert not server.entries("internal_error")
    assert "Traceback" not in server.stderr_text()


def test_process_that_was_suspended_goes_on(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--store", "memory")
    ann = connect(server, "ann")
    server.send_signal(signal.SIGSTOP)  # SIGTSTP is ignored where no shell could resume the process
    eventually(lambda: " T " in Path(f"/proc/{server.process.pid}/stat").read_text())
    ann.send_frame("message", message="meanwhile", ref="1")
    server.send_signal(signal.SIGCONT)
    ann.expect("message", ref="1")


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_what_was_acknowledged_survives_a_kill(
    start_server: StartServer, connect: Connect, sync: str
) -> None:
    # Given a client that sends continuously
    server = start_server("--rate-messages", "0", "--sync", sync)
    ann = connect(server, "ann")
    thread = send_in_thread(ann, 50_000)
    ann.expect("message", ref="r50")

    # When the process is killed
    server.kill()
    own, bye = acknowledged(ann)
    thread.join()
    assert bye is None

    # Then every acknowledged message is there, at its seq, and the seqs have no gap
    server.start()
    stored = whole_history(connect(server, "reader"))
    assert [frame["seq"] for frame in stored] == list(range(1, len(stored) + 1))
    assert stored[51 : 51 + len(own)] == own


def test_a_named_store(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "some where" / "my chat.db"
    server = start_server("--store", f"sqlite:///{path}")
    connect(server, "ann").say("kept")
    server.kill()
    server.start()
    assert path.exists()
    (message,) = whole_history(connect(server, "bob"))
    assert message["message"] == "kept"


# SIGHUP and SIGUSR1


def test_sighup_after_rename_reopens_log(start_server: StartServer, connect: Connect) -> None:
    # Given a log that was moved away
    server = start_server("--store", "memory", log_file=True)
    old = server.log_path.rename(server.log_path.with_suffix(".1"))

    # When the server gets SIGHUP
    server.send_signal(signal.SIGHUP)
    eventually(server.log_path.exists)
    server.wait_logged("log_reopened", path=str(server.log_path))
    ann = connect(server, "ann")

    # Then later events are in the new log only
    server.wait_logged("session_opened", username=ann.username)
    assert ann.username not in old.read_text()
    assert matching_lines(old.read_text(), "server_started")


def test_limits_are_read_again(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    # Given limits in a file
    file = tmp_path / "settings.toml"
    file.write_text("rate-messages = 1000\nmax-rooms = 5\n")
    server = start_server("--store", "memory", "--config", str(file))
    ann = connect(server, "ann")

    # When they are changed, together with a setting that needs a restart
    file.write_text("rate-messages = 1\nrate-messages-burst = 2\nmax-rooms = 1\nping-interval = 7\n")
    server.send_signal(signal.SIGHUP)
    entry = server.wait_logged("limits_reloaded")
    assert entry["changed"] == {"rate_messages": 1, "rate_messages_burst": 2, "max_rooms": 1}
    assert entry["restart_needed"] == ["ping_interval"]

    # Then they apply, also to connected sessions
    assert ann.expect_refusal("join", room="second") == "too_many"
    for _ in range(3):
        ann.send_frame("message", message="m")
    ann.expect("error", code="rate_limited")
    limits = connect(server).hello("bob")["limits"]
    assert (limits["messages_per_second"], limits["rooms"]) == (1, 1)


def test_wrong_limits_change_nothing(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("max-rooms = 5\n")
    server = start_server("--store", "memory", "--config", str(file))
    file.write_text("max-rooms = 'none'\n")
    server.send_signal(signal.SIGHUP)
    assert "max-rooms" in server.wait_logged("limits_not_reloaded")["error"]
    assert connect(server).hello("ann")["limits"]["rooms"] == 5


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("port = 1\n".encode("utf-16"), "UTF-16"),
        (b'node = "caf\xe9"\n', "0xE9"),
        (b"a = " + b"[" * 100_000, "nest"),
        (b"rate-messages = 1" + b"0" * 400 + b"\n", "rate-messages"),
    ],
    ids=["UTF-16", "Latin-1", "nested", "huge number"],
)
def test_file_that_cannot_be_read_again_changes_nothing(
    start_server: StartServer, connect: Connect, tmp_path: Path, data: bytes, words: str
) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes("max-rooms = 5\n".encode("utf-8-sig"))
    server = start_server("--store", "memory", "--config", str(file))
    file.write_bytes(data)
    server.send_signal(signal.SIGHUP)
    assert words in server.wait_logged("limits_not_reloaded")["error"]
    assert connect(server).hello("ann")["limits"]["rooms"] == 5


def test_settings_from_a_pipe_are_not_read_again(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    # Given settings that came through a pipe, which would be waited for, or read as empty
    fifo = tmp_path / "settings.toml"
    os.mkfifo(fifo)
    server = start_server("--store", "memory", "--config", str(fifo), wait=False)
    fifo.write_text("max-rooms = 5\n")
    server.port = server.wait_logged("server_started")["port"]

    # When they are to be read again
    server.send_signal(signal.SIGHUP)

    # Then the server says why not, and goes on
    assert "regular file" in server.wait_logged("limits_not_reloaded")["error"]
    assert connect(server).hello("ann")["limits"]["rooms"] == 5


def test_the_number_of_connections_is_read_again(
    start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("max-connections = 1\n")
    server = start_server("--store", "memory", "--config", str(file))
    connect(server, "ann")
    assert connect(server).expect_bye()["reason"] == "too_many_connections"
    file.write_text("max-connections = 3\n")
    server.send_signal(signal.SIGHUP)
    server.wait_logged("limits_reloaded")
    connect(server, "bob")


def test_stacks_on_request(server: ServerProcess, connect: Connect) -> None:
    connect(server, "ann")
    before = len(server.entries("stacks"))
    server.send_signal(signal.SIGUSR1)
    eventually(lambda: len(server.entries("stacks")) > before)
    stack = server.entries("stacks")[-1]["stack"]
    assert "in _serve" in stack
    assert "block-watch" in stack
