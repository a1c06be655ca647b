"""The server's event log: vocabulary, sums, and no message texts or secrets."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from chat_server.vocabulary import COMMON, EVENTS, FIELDS, HISTOGRAMS, LogEvent
from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import LogLine, ServerProcess, eventually
from support.processes.wire import RawConnection

SECRET_TEXT = "the launch code is 0000"


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A finished run with as many kinds of events as possible."""
    server = ServerProcess(
        tmp_path_factory.mktemp("eventful"),
        *("--log-messages", "--log-interval", "0.2", "--ping-interval", "1", "--drain-timeout", "0.2"),
        *("--max-connections", "6", "--log-level", "debug", "--node", "test-node"),
    )
    try:
        with ExitStack() as stack:
            make_things_happen(server, stack)
            assert server.stop() == 0
        yield server
    finally:
        server.kill()


def make_things_happen(server: ServerProcess, stack: ExitStack) -> None:
    ann, bob = (stack.enter_context(NdjsonPeer(server.port)) for _ in range(2))
    ann.hello("ann", resumable=True)
    bob.hello("bob")
    for _ in range(5):
        ann.say(SECRET_TEXT)
        ann.say(SECRET_TEXT, to=bob.username)
        for one in (ann, bob):
            one.send_frame("pong", id=one.expect("ping")["id"])
    bob.expect_refusal("join", room="@" + SECRET_TEXT)
    bob.expect_refusal("rename", username=SECRET_TEXT)
    bob.send_frame("message", message=SECRET_TEXT + "\x07")
    bob.send(f'{{"type":"{SECRET_TEXT}"}}\n{SECRET_TEXT}\n'.encode())
    bob.expect("error", code="bad_frame")
    for first in (
        f"{SECRET_TEXT}\n/nick tex\n",
        f'{{"username":"sue","message":"{SECRET_TEXT}"}}',
        f"GET /{SECRET_TEXT} HTTP/1.1\r\n",
        *([""] * 3),
    ):
        stack.enter_context(RawConnection(server.port)).send(first.encode())
    server.wait_logged("connection_refused")
    server.send_signal(signal.SIGUSR1)
    server.wait_logged("stacks")
    server.send_signal(signal.SIGHUP)
    server.wait_logged("limits_reloaded")
    for name in ("tex", "sue"):
        eventually(lambda name=name: name in str(ann.ask("who")), name)  # type: ignore[misc]
    bob.send_frame("quit", reason=SECRET_TEXT)
    bob.expect_bye()
    bob.close()
    server.wait_logged("session_closed", username=bob.username)


def test_the_vocabulary_is_closed(eventful: ServerProcess) -> None:
    # Then each line has the common fields, and of the others only those of its event
    seen = set()
    for entry in eventful.entries():
        event = LogEvent(entry["event"])
        seen.add(event)
        assert tuple(entry)[:4] == COMMON
        assert set(entry) <= {*COMMON, *EVENTS[event].fields}, entry
        assert entry["node"] == "test-node"
        assert entry["level"] in {"debug", "info", "warning"}
        for room in entry.get("rooms", ()):
            assert set(room) <= set(FIELDS)
    assert seen >= {
        *(LogEvent.SERVER_STARTED, LogEvent.SERVER_STOPPING, LogEvent.SERVER_STOPPED, LogEvent.INTERVAL),
        *(LogEvent.SESSION_OPENED, LogEvent.SESSION_CLOSED, LogEvent.MESSAGE, LogEvent.CONNECTION_REFUSED),
        *(LogEvent.STACKS, LogEvent.LIMITS_RELOADED),
    }
    assert eventful.raw_log().endswith("\n")


def test_no_text_and_no_secret_is_logged(eventful: ServerProcess) -> None:
    assert "launch code" not in eventful.raw_log()
    assert "launch code" not in eventful.stderr_text()


def test_a_session_secret_is_in_neither_log_nor_store(start_server: StartServer, connect: Connect) -> None:
    server = start_server("--log-messages", "--log-level", "debug", "--drain-timeout", "0.2")
    ann = connect(server)
    secret = ann.hello("ann", resumable=True)["session"]
    ann.say("hi")
    assert server.stop() == 0
    assert secret not in server.raw_log()
    for file in server.data.iterdir():
        assert secret.encode() not in file.read_bytes(), file


def test_a_message_leaves_a_line_without_its_text(eventful: ServerProcess) -> None:
    lines = eventful.entries("message")
    assert len(lines) == 12
    ann = eventful.entries("session_opened")[0]
    lobby = [line for line in lines if line["room"] == "lobby" and line["username"] == ann["username"]]
    assert [line["seq"] for line in lobby] == [1, 2, 3, 4, 5]
    assert {line["message_bytes"] for line in lobby} == {len(SECRET_TEXT)}
    assert {line["session_id"] for line in lobby} == {ann["session_id"]}


def test_a_session_is_summed_up(eventful: ServerProcess) -> None:
    # Given four sessions, each opened once and closed once
    opened = {entry["session_id"]: entry for entry in eventful.entries("session_opened")}
    closed = {entry["session_id"]: entry for entry in eventful.entries("session_closed")}
    assert len(opened) == len(eventful.entries("session_closed")) == 4
    assert opened.keys() == closed.keys()
    assert sorted(entry["dialect"] for entry in closed.values()) == ["ndjson", "ndjson", "simple", "text"]

    # Then session_closed has traffic, duration and reason
    by_name = {entry["username"].partition("-")[0]: entry for entry in closed.values()}
    ann, bob = by_name["ann"], by_name["bob"]
    assert (ann["messages_in"], bob["messages_in"]) == (10, 0)
    assert ann["messages_out"] >= 10
    assert (ann["reason"], bob["reason"]) == ("shutdown", "quit")
    assert by_name["tex"]["reason"] == "shutdown"
    for one in (ann, bob):
        assert one["rtt_samples"] >= 5
        assert 0 < one["rtt_min_ms"] <= one["rtt_p50_ms"] <= one["rtt_p99_ms"]
        assert one["tcp_rtt_ms"] > 0
        assert one["duration_s"] > 0
        assert one["bytes_in"] > 500
        assert one["bytes_out"] > 500
        assert one["address"].startswith("127.0.0.1:")


def total(entries: list[LogLine], field: str) -> Any:
    return sum(entry[field] for entry in entries)


def counts(entries: list[LogLine], field: str) -> int:
    """Merge the histograms of all lines; return their number of values."""
    merged = HdrHistogram(1, 3_600_000_000, 3)
    for entry in entries:
        if field in entry:
            one = HdrHistogram.decode(entry[field])
            assert one.get_min_value() > 0
            merged.add(one)
    return int(merged.get_total_count())


def test_the_intervals_add_up(eventful: ServerProcess) -> None:
    lines = eventful.entries("interval")
    assert len(lines) > 2
    assert total(lines, "messages") == 12
    assert total(lines, "opened") == 4
    closed: dict[str, int] = {}
    errors: dict[str, int] = {}
    refused: dict[str, int] = {}
    for line in lines:
        for field, sums in (("closed", closed), ("errors", errors), ("refused", refused)):
            for name, count in line[field].items():
                sums[name] = sums.get(name, 0) + count
    assert closed == {"quit": 1, "shutdown": 3}
    assert errors == {
        "forbidden": 1, "name_invalid": 1, "invalid_field": 1, "unknown_type": 1, "bad_frame": 2
    }  # fmt: skip
    assert refused["bad_frame"] == 1
    assert refused["too_many_connections"] >= 1
    assert (
        sum(entry["count"] for entry in eventful.entries("connection_refused"))
        == (refused["too_many_connections"])
    )
    assert total(lines, "bytes_in") >= total(eventful.entries("session_closed"), "bytes_in")
    assert abs(total(lines, "interval_s") - eventful.entries("server_stopped")[0]["uptime_s"]) < 5


def test_the_histograms_count_what_happened(eventful: ServerProcess) -> None:
    lines = eventful.entries("interval")
    assert counts(lines, "accept_to_commit") == 12
    assert 0 < counts(lines, "commit_to_sent") <= 12
    samples = total(eventful.entries("session_closed"), "rtt_samples")
    assert counts(lines, "rtt") == samples
    rooms = [room for line in lines for room in line["rooms"]]
    assert {room["room"] for room in rooms} >= {"lobby"}
    assert total(rooms, "messages") == 12
    assert total(rooms, "deliveries") == total(lines, "deliveries")
    assert counts(rooms, "accept_to_commit") <= 12
    assert set(HISTOGRAMS) <= set(FIELDS)


def test_the_level_holds_back_what_matters_less(start_server: StartServer) -> None:
    server = start_server("--store", "memory", "--log-level", "warning", wait=False)
    while "Ctrl-C" not in server.stderr_text():
        assert server.process.poll() is None
    assert server.stop() == 0
    assert server.raw_log() == ""


def test_log_does_not_name_the_two_users_of_a_conversation(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a conversation, and a public message
    server = start_server("--log-messages", "--log-level", "debug", "--log-interval", "0.1")
    ann, bob, cat = (connect(server, name) for name in ("ann", "bob", "cat"))
    ann.say("aloud")
    for _ in range(3):
        ann.send_frame("message", message="psst", to=bob.username)
        bob.expect("message", message="psst")
    cat.say("psst, too", to=bob.username)
    room = f"@{','.join(sorted((ann.username, bob.username)))}"

    # When all is logged
    assert server.stop() == 0

    # Then neither the name of their room, nor any other link between them is in it
    assert room not in server.raw_log()
    messages = server.entries("message")
    assert [("username" in line, "session_id" in line) for line in messages if line["room"] == "lobby"] == [
        (True, True)
    ]
    private = [line for line in messages if line["room"].startswith("@")]
    assert not [line for line in private if "username" in line or "session_id" in line]
    # But the messages of a room can be counted, and their order checked
    assert sorted(Counter(line["room"] for line in private).values()) == [1, 3]
    counted = {one["room"] for line in server.entries("interval") for one in line["rooms"]}
    assert counted == {line["room"] for line in messages}
