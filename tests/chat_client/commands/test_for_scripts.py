"""`send`, `tail` and `rtt` in scripts: real commands, a real server."""

import json
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from chat_client import Client
from chat_protocol.message_text import MAX_MESSAGE_BYTES

Run = Any
"""Runs chat-client to its end: (*arguments, stdin=..., **environment)."""


def rest(process: Any) -> tuple[str, str]:
    """Wait for the end and return the remaining output (communicate would lose what is buffered)."""
    written = process.stdout.read(), process.stderr.read()
    process.wait()
    return written


def said(server: Any, room: str) -> list[str]:
    with Client(f"look-{room}"[:32], server.address, rooms=[room]) as client:
        return [event.message for event in client.history(room, after=0, limit=None)]


def test_send_returns_after_the_acknowledgement(server: Any, run: Run) -> None:
    done = run("send", "--server", server.address, "--room", "send-one", "two", "words")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert said(server, "send-one") == ["two words"]


def test_send_sends_each_line_of_stdin(server: Any, run: Run) -> None:
    lines = [f"line {number}" for number in range(1500)]
    done = run("--port", str(server.port), "send", "--room", "send-many", stdin="\r\n".join([*lines, "", ""]))
    assert (done.returncode, done.stderr) == (0, "")
    assert said(server, "send-many") == lines


def test_send_of_many_lines_keeps_to_the_rate_limit(start_server: Any, run: Run) -> None:
    server = start_server("--store", "memory", "--rate-messages", "100", "--rate-messages-burst", "20")
    lines = [f"line {number}" for number in range(200)]
    done = run("send", "--server", server.address, stdin="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert said(server, "lobby") == lines


def test_send_splits_a_long_line(server: Any, run: Run) -> None:
    text = "word " * 4000
    assert run("send", "--server", server.address, "--room", "send-long", stdin=text).returncode == 0
    pieces = said(server, "send-long")
    assert all(len(piece) <= MAX_MESSAGE_BYTES for piece in pieces)
    assert " ".join(pieces).split() == text.split()


def test_send_to_a_user_is_private(server: Any, run: Run) -> None:
    with Client("send-ann", server.address) as ann:
        assert run("send", "--server", server.address, "--to", "send-ann", "psst").returncode == 0
        for event in ann:
            if getattr(event, "message", "") == "psst":
                assert event.room.startswith("@")  # type: ignore[attr-defined]
                break


def test_refusal_exits_4(server: Any, run: Run) -> None:
    nobody = run("send", "--server", server.address, "--to", "nobody-here", "hi")
    assert nobody.returncode == 4
    assert "nobody" in nobody.stderr
    control = run("send", "--server", server.address, "--room", "send-bad", stdin="a\n\x1b[2J\nb\n")
    assert control.returncode == 4
    assert "U+001B" in control.stderr
    assert "\x1b" not in control.stderr
    assert said(server, "send-bad") == ["a", "b"]
    with Client("taken", server.address):
        assert run("send", "--server", server.address, "--username", "taken", "hi").returncode == 4
        assert run("send", "--server", server.address, "hi", CHAT_USERNAME="taken").returncode == 0


@pytest.mark.parametrize("text", ["", "   "])
def test_send_of_a_blank_text_exits_4(server: Any, run: Run, text: str) -> None:
    done = run("send", "--server", server.address, "--room", "send-blank", text)
    assert (done.returncode, done.stdout) == (4, "")
    assert "the message is blank" in done.stderr


def test_send_skips_blank_lines_and_without_text_exits_2(server: Any, run: Run) -> None:
    for stdin in ("", "\n  \n"):
        done = run("send", "--server", server.address, "--room", "send-none", stdin=stdin)
        assert (done.returncode, done.stdout) == (2, "")
        assert "nothing to send" in done.stderr
    assert run("send", "--server", server.address, "--room", "send-none", stdin="\nx\n\n").returncode == 0
    assert said(server, "send-none") == ["x"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "nonsense"),
        (["send", "--server", "a:b", "x"], "'b' is not a port"),
        (["send", "--server", "a:1", "--host", "b", "x"], "not both"),
        (["send", "--room", "a b", "x"], "--room 'a b'"),
        (["send", "--room", "a", "--to", "b", "x"], "not allowed with"),
        (["send", "--username", "@x", "x"], "--username '@x'"),
        (["tail", "--since", "-1"], "--since"),
        (["rtt", "-i", "x"], "seconds"),
        (["rtt", "-c", "0"], "from 1"),
        (["--timeout", "0", "rtt"], "seconds"),
        ([], "chat-client send, tail or rtt"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_names_the_argument(run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_invalid_environment_is_named(run: Run) -> None:
    done = run("send", "x", CHAT_SERVER="a:b")
    assert done.returncode == 2
    assert "CHAT_SERVER" in done.stderr


def test_connection_refused_exits_3(run: Run) -> None:
    done = run("send", "--server", "127.0.0.1:1", "x")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "chat-client: 127.0.0.1:1: connection refused\n"


def test_timeout_exits_5_and_counts_unacknowledged_messages(start_server: Any, spawn: Any) -> None:
    server = start_server("--store", "memory")
    with Client("look", server.address) as client:
        process = spawn("send", "--server", server.address, "--timeout", "1")
        process.stdin.write("first\n")
        process.stdin.flush()
        while getattr(client.next_event(30), "message", "") != "first":
            pass
        server.freeze()
        process.stdin.write("second\nthird\n")
        process.stdin.close()
        assert process.wait(60) == 5
        # The acknowledgement of the first may not have been sent before the freeze.
        assert re.search("[23] messages were not acknowledged", process.stderr.read())
        server.thaw()


def test_chat_server_from_the_environment_is_used(server: Any, run: Run) -> None:
    done = run("send", "--room", "env", "hi", CHAT_SERVER=f"127.0.0.1:1,{server.address}")
    assert done.returncode == 0
    assert f"{server.address} is the only one that answers; 127.0.0.1:1: connection refused" in done.stderr


def test_tail_prints_stored_then_new_messages(server: Any, spawn: Any) -> None:
    with Client("tail-ann", server.address, rooms=["tail"]) as ann:
        for number in range(700):
            ann.send(f"old {number}", "tail").wait(30)
        tail = spawn("tail", "--server", server.address, "--room", "tail", "--since", "100", "-n", "610")
        lines = [tail.stdout.readline() for _ in range(600)]
        for number in range(10):
            ann.say(f"new {number}", "tail")
        out, err = rest(tail)
    texts = [re.sub(r"^\d\d:\d\d tail-ann: ", "", line) for line in [*lines, *out.splitlines(keepends=True)]]
    assert texts == [f"old {number}\n" for number in range(100, 700)] + [
        f"new {number}\n" for number in range(10)
    ]
    assert (tail.returncode, err) == (0, "")


def test_tail_json_escapes_control_and_bidi_characters(server: Any, run: Run) -> None:
    with Client("json-ann", server.address, rooms=["json"]) as ann:
        stored = ann.say("two\nlines \u202e and ü", "json")
    done = run("tail", "--server", server.address, "--room", "json", "--json", "--since", "0", "-n", "1")
    (line,) = done.stdout.splitlines()
    assert "\\u202e" in line
    event = json.loads(line)
    assert (event["type"], event["seq"], event["message"]) == ("message", 1, stored.message)


def test_tail_with_reconnect_prints_each_message_once_over_a_restart(start_server: Any, spawn: Any) -> None:
    server = start_server()
    tail = spawn("tail", "--server", server.address, "--json", "--since", "0", "-n", "30", "--reconnect")
    lines: list[str] = []
    for part in range(3):
        with Client("writer", server.address) as writer:
            for number in range(10):
                writer.say(str(part * 10 + number))
        lines += [] if lines else [tail.stdout.readline()]  # it has connected
        server.kill()
        server.start()
    out, err = rest(tail)
    assert [json.loads(line)["message"] for line in [*lines, *out.splitlines()]] == [
        str(number) for number in range(30)
    ]
    assert "trying again" in err


def test_tail_without_reconnect_reports_a_lost_connection(start_server: Any, spawn: Any) -> None:
    server = start_server()
    tail = spawn("tail", "--server", server.address, "--since", "0")
    with Client("writer", server.address) as writer:
        writer.say("one")
        assert tail.stdout.readline().endswith("writer: one\n")
    server.kill()
    _, err = rest(tail)
    assert tail.returncode == 3
    assert "Traceback" not in err
    assert "the server closed the connection" in err or "reset" in err


def test_tail_ends_quietly_when_the_pipe_is_closed(server: Any, spawn: Any) -> None:
    with Client("pipe-ann", server.address, rooms=["pipe"]) as ann:
        ann.say("first", "pipe")
        tail = spawn("tail", "--server", server.address, "--room", "pipe", "--since", "0")
        tail.stdout.readline()
        tail.stdout.close()
        ann.say("second", "pipe")
        assert tail.wait(60) == 0
        assert tail.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_exits_130_quietly(server: Any, spawn: Any, number: signal.Signals) -> None:
    room = f"int-{number}"
    with Client(room, server.address, rooms=[room]) as ann:
        ann.say("x", room)
        tail = spawn("tail", "--server", server.address, "--room", room, "--since", "0")
        tail.stdout.readline()
        tail.send_signal(number)
        out, err = rest(tail)
    assert (tail.returncode, out, err) == (130, "", "")


def test_rtt_prints_each_ping_and_a_summary(server: Any, run: Run) -> None:
    done = run("rtt", "--server", server.address, "-c", "3", "-i", "0.01")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, len(lines)) == (0, "", 8)
    assert re.fullmatch(
        rf"pong from {server.address}: n=3 time=\d+\.\d{{3}} ms( tcp=\d+\.\d{{3}} ms)?", lines[3]
    )
    assert lines[5].startswith("3 pings, 3 answered, 0.0% lost")
    assert re.fullmatch(r"min/mean/max = [\d.]+/[\d.]+/[\d.]+ ms", lines[6])
    assert re.fullmatch(r"percentiles: p50=[\d.]+ p90=[\d.]+ p99=[\d.]+ ms", lines[7])


def test_rtt_when_interrupted_prints_the_summary(server: Any, spawn: Any) -> None:
    rtt = spawn("rtt", "--server", server.address, "-i", "0.01")
    while "n=2" not in rtt.stdout.readline():
        pass
    rtt.send_signal(signal.SIGINT)
    out, err = rest(rtt)
    assert (rtt.returncode, err) == (0, "")
    assert "percentiles:" in out


def test_help_lists_subcommands_and_version_is_printed(run: Run) -> None:
    assert re.fullmatch(r"chat-client \d+\.\d+\.\d+\S*\n", run("--version").stdout)
    text = run("--help").stdout
    for word in ("send", "tail", "rtt", "CHAT_SERVER", "CHAT_USERNAME", "exit codes", "130"):
        assert word in text
    assert "exit codes" in run("tail", "--help").stdout


def test_help_to_a_closed_pipe_is_quiet(env: dict[str, str]) -> None:
    command = f"{sys.executable} -m chat_client --help | true"
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
