"""Pings, round trips, timeouts, and connections with other protocols."""

import json
from contextlib import suppress

import pytest

from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.peer import NdjsonPeer, unique_name
from support.processes.process import ServerProcess

QUICK = ("--store", "memory", "--rate-messages", "0", "--rate-bytes", "0", "--ping-interval", "0.5")


def answer_pings(peer: NdjsonPeer, count: int) -> None:
    for _ in range(count):
        peer.send_frame("pong", id=peer.expect("ping")["id"])


def test_round_trips_are_measured(start_server: StartServer, connect: Connect) -> None:
    # Given a client that has answered a few pings
    server = start_server(*QUICK)
    ann = connect(server, "ann")
    answer_pings(ann, 4)

    # Then others can read the round trips
    bob = connect(server, "bob")
    report = bob.ask("rtt", username=ann.username)
    assert report["samples"] == 4
    assert 0 < report["min_ms"] <= report["p50_ms"] <= report["p99_ms"] < 20_000
    assert 0 < report["last_ms"] <= report["p99_ms"]
    assert report["tcp_ms"] > 0
    users = {user["username"]: user["rtt_ms"] for user in bob.ask("who")["users"]}
    assert users[ann.username] == report["last_ms"]
    (only,) = bob.ask("servers")["servers"]
    assert only["rtt_ms"] > 0


def test_a_pong_that_was_guessed_measures_nothing(start_server: StartServer, connect: Connect) -> None:
    ann = connect(start_server(*QUICK), "ann")
    for guess in ("0", "x", "99"):
        ann.send_frame("pong", id=guess)
    answer_pings(ann, 1)
    assert ann.ask("rtt")["samples"] == 1


def test_peer_missing_two_pings_is_closed(start_server: StartServer, connect: Connect) -> None:
    # Given a silent client, one that answers every other ping, and a plain-text one without pings
    server = start_server(*QUICK)
    silent, lazy = connect(server, "silent", rooms=["hall"]), connect(server, "lazy", rooms=["hall"])
    text = connect(server)
    text.send(b"hello\n")

    # When the second has answered some pings
    for _ in range(3):
        lazy.expect("ping")
        answer_pings(lazy, 1)

    # Then the first was disconnected after two pings
    frames = []
    while (frame := silent.next_frame())["type"] != "bye":
        frames.append(frame["type"])
    assert frame["reason"] == "timeout"
    assert frames.count("ping") == 2
    assert silent.read_to_end() == b""

    # And the others are still connected
    lazy.say("only lazy", room="hall")
    text.send(b"/who\n")
    while b"connected: " not in (line := text.read_line()):
        pass
    assert lazy.username.encode() in line


def test_connection_without_hello_times_out(start_server: StartServer, dial: Dial, connect: Connect) -> None:
    # Given a silent connection, one that stops in mid-frame, one with a refused command, and a named one
    server = start_server("--hello-timeout", "0.3", "--store", "memory")
    ann = connect(server, "ann")
    begun = {b"": dial(server), b'{"type":"hel': dial(server), b'{"type":"who"}\n': dial(server)}
    for data, one in begun.items():
        one.send(data)

    # Then the unnamed ones get bye and are closed; the other is not
    for one in begun.values():
        bye = json.loads(one.read_to_end().splitlines()[-1])
        assert (bye["type"], bye["reason"]) == ("bye", "hello_timeout")
        assert "0.3 seconds" in bye["message"]
    ann.say("I had said")


def test_hello_timeout_of_one_second_is_called_so(start_server: StartServer, dial: Dial) -> None:
    bye = json.loads(dial(start_server("--hello-timeout", "1", "--store", "memory")).read_to_end())
    assert "no hello within 1 second;" in bye["message"]


def test_a_reader_that_takes_nothing_is_given_up(start_server: StartServer, connect: Connect) -> None:
    # Given a client that requests more than fits, and reads nothing
    flags = ("--stalled-timeout", "0.3", "--outbox-bytes", "64K")
    server = start_server(*QUICK, *flags)
    slow = connect(server, "slow", wire={"receive_buffer": 4096})
    bob = connect(server, "bob")
    for number in range(8):
        bob.send_frame("message", message="x" * 8192, ref=f"r{number}")
    bob.expect("message", ref="r7")
    slow.send(b'{"type":"history","room":"lobby"}\n' * 400)

    # Then it is disconnected, and the others are not
    while not (closed := server.entries("session_closed", username=slow.username)):
        answer_pings(bob, 1)
    assert closed[0]["reason"] == "stalled"
    answer_pings(bob, 1)
    bob.say("here")


FOREIGN = {
    "GET": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST": b'POST / HTTP/1.1\r\nHost: x\r\n\r\n{"username":"mallory","message":"posted"}\n',
    "OPTIONS": b"OPTIONS * HTTP/1.0\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "other method": b"BREW /pot HTTP/1.1\r\n",
    "lower case": b"get / HTTP/1.1\r\n",
    "CAP": b"CAP LS 302\r\nNICK mallory\r\n",
    "NICK": b"NICK mallory\r\n",
    "USER": b"USER mallory 0 * :M\r\n",
    "PASS": b"PASS secret\r\n",
    "PROXY": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "PROXY 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "binary": b"\x00\x01\x02\x03",
    "not UTF-8": b"caf\xe9 latin\n",
    "MQTT": b"\x10\x12\x00\x04MQTT\x04\x02",
}


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("first", FOREIGN.values(), ids=FOREIGN)
def test_other_protocols_get_one_line_that_says_why(
    server: ServerProcess, dial: Dial, connect: Connect, first: bytes, *, bytewise: bool
) -> None:
    # Given a client in the lobby
    ann = connect(server, "ann")

    # When a connection sends another protocol
    mallory = dial(server)
    pieces = [first[at : at + 1] for at in range(len(first))] if bytewise else [first]
    with suppress(OSError):  # it may be closed before the last byte
        for piece in pieces:
            mallory.send(piece)

    # Then it gets one line, and is closed
    (line,) = mallory.read_to_end().splitlines()
    error = json.loads(line)
    assert (error["type"], error["code"]) == ("error", "bad_frame")
    assert error["message"]

    # And other clients are not affected
    ann.say(unique_name("fence"))
    assert not [frame for frame in ann.frames_so_far() if frame["type"] == "message"]
