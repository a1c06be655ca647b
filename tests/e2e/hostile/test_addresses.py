"""Limits per address."""

import json
import signal
from pathlib import Path

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import eventually
from support.processes.server_counters import wait_counted

QUICK = ("--store", "memory", "--log-interval", "0.1", "--drain-timeout", "0.2", "--limit-loopback")


def is_let_in(peer: NdjsonPeer) -> bool:
    peer.send_frame("hello", username="later")
    return bool(peer.next_frame()["type"] == "welcome")


def test_too_many_connections_in_a_short_time(start_server: StartServer, connect: Connect) -> None:
    # Given a server that takes five from an address at once, and ten a second
    server = start_server(*QUICK, "--rate-connections", "10", "--rate-connections-burst", "5")
    good = connect(server, "good")

    # When fifty connect
    peers = [connect(server) for _ in range(50)]
    for peer in peers:
        peer.send_frame("quit")
    byes = [frame for peer in peers if (frame := peer.expect_bye())["reason"] == "too_many_connections"]

    # Then most get a time to come back, at different times
    assert len(byes) > 25
    assert all(0 < frame["after"] <= 60 for frame in byes)
    assert len({frame["after"] for frame in byes}) > 10

    # And the first client is served, a later one is accepted, and the log has the counts
    good.say("still here")
    eventually(lambda: is_let_in(connect(server)), "a connection later")
    assert server.wait_logged("connection_refused", address="127.0.0.1")["count"] >= 1
    wait_counted(server, "refused", "too_many_connections", len(byes))


def test_this_machine_is_exempt(start_server: StartServer, connect: Connect) -> None:
    rates = ("--rate-connections", "1", "--rate-connections-burst", "1", "--rate-failed-hellos-burst", "1")
    server = start_server("--store", "memory", *rates)
    for _ in range(20):
        assert connect(server).expect_refusal("hello", username="no good") == "name_invalid"


def test_rates_are_read_again(start_server: StartServer, connect: Connect, tmp_path: Path) -> None:
    # Given a limit of one connection in a thousand seconds, which one has taken
    settings = tmp_path / "settings.toml"
    settings.write_text("rate-connections = 0.001\nrate-connections-burst = 1\n")
    server = start_server(*QUICK, "--config", str(settings))
    connect(server, "good")
    assert connect(server).expect_bye()["after"] == 60

    # When the limit is removed, then all are accepted
    settings.write_text("rate-connections = 0\n")
    server.send_signal(signal.SIGHUP)
    server.wait_logged("limits_reloaded")
    for _ in range(5):
        connect(server, "later")


def test_a_storm_of_a_thousand_comes_in_at_default_settings(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a school of a thousand behind one router, and a server that has just come back
    server = start_server("--store", "memory", "--limit-loopback", "--drain-timeout", "0.2")
    peers = [connect(server) for _ in range(1000)]
    for number, peer in enumerate(peers):
        peer.send(json.dumps({"type": "hello", "username": f"pupil-{number}"}).encode() + b"\n")

    # Then all are accepted at once
    assert {peer.next_frame()["type"] for peer in peers} == {"welcome"}
