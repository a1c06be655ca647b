"""Guessing names and secrets is rate-limited, but other clients of the same address are accepted."""

import json
import time
from typing import Any

import pytest

from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.server_counters import wait_counted

QUICK = ("--store", "memory", "--log-interval", "0.1", "--drain-timeout", "0.2", "--limit-loopback")
FEW = ("--rate-failed-hellos", "10", "--rate-failed-hellos-burst", "5")


@pytest.mark.parametrize(
    "hello",
    [
        {"username": "no good"},
        {"username": "{good}"},
        {"username": "guest-1"},
        {"username": "mallory-{number}", "resume": {"session": "guessed"}},
    ],
    ids=["invalid", "taken", "reserved", "secret"],
)
def test_failing_hellos_are_put_off(
    start_server: StartServer, connect: Connect, hello: dict[str, Any]
) -> None:
    # Given a server that lets five fail at once
    server = start_server(*QUICK, *FEW)
    good = connect(server, "good")

    # When a client fails repeatedly, on several connections
    answers = []
    for number in range(8):
        username = hello["username"].format(good=good.username, number=number)
        answers.append(connect(server).ask("hello", **hello | {"username": username}))

    # Then from the sixth on they are rate-limited, with growing delays
    put_off = [answer for answer in answers if answer.get("code") == "rate_limited"]
    assert put_off
    assert len(answers) - len(put_off) >= 5
    waits = [answer["retry_after"] for answer in put_off]
    assert waits == sorted(waits)

    # And a valid hello from the address is accepted after its retry_after
    late = connect(server)
    answer = late.ask("hello", username="late")
    if answer["type"] == "error":
        time.sleep(answer["retry_after"])  # the promise is a time
        answer = late.ask("hello", username="late")
    assert answer["type"] == "welcome"
    good.say("undisturbed")


def test_failed_hellos_without_waiting_are_disconnected(
    start_server: StartServer, connect: Connect, dial: Dial
) -> None:
    # Given an address with failed hellos, and a client that is connected already
    server = start_server(*QUICK, "--rate-failed-hellos", "0.2", "--rate-failed-hellos-burst", "3")
    good = connect(server, "good")

    # When a client sends a thousand bad hellos in one packet
    eve = dial(server)
    eve.send(b'{"type":"hello","username":"no good"}\n' * 1000)
    lines = [json.loads(line) for line in eve.read_to_end().splitlines()]

    # Then a few are answered, and it gets bye with a time to come back
    codes = [line.get("code") for line in lines]
    assert codes.count("name_invalid") == 3
    assert 0 < codes.count("rate_limited") < 30
    assert (lines[-1]["type"], lines[-1]["reason"]) == ("bye", "flooding")
    assert 0 < lines[-1]["after"] <= 20

    # And it is in the log, and the other client is served
    good.say("undisturbed")
    wait_counted(server, "errors", "rate_limited")
    wait_counted(server, "refused", "flooding")
