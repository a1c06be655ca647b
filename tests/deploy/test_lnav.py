"""The real lnav recognises every log line, with its level and time."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chat_server.vocabulary import FIELDS, HISTOGRAMS
from support.processes.fixtures import Connect, Dial, StartServer
from support.processes.process import eventually

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
FORMAT = DEPLOY / "lnav-greenroom.json"

Tool = Callable[[str], str]


def test_the_format_knows_the_vocabulary() -> None:
    (table,) = (value for key, value in json.loads(FORMAT.read_text()).items() if key != "$schema")
    assert set(table["value"]) == set(FIELDS) - {"ts", "level"}
    for name, value in table["value"].items():
        number = name.endswith(("_ms", "_s", "_bytes")) or name in {"seq", "count", "messages", "deliveries"}
        assert (value["kind"] in {"integer", "float"}) >= number, name
        assert value.get("hidden") or name not in HISTOGRAMS
    shown = {part["field"] for part in table["line-format"] if isinstance(part, dict)}
    assert shown - {"__timestamp__", "__level__"} <= set(FIELDS)


@pytest.fixture
def lnav(tool: Tool, tmp_path: Path) -> Callable[..., str]:
    """Run lnav without a screen, with our format and without the developer's configuration."""
    program = tool("lnav")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TZ": "UTC", "LC_ALL": "C.UTF-8"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr.lower(), done.stderr
        return done.stdout

    run("-i", str(FORMAT))
    return run


def test_every_line_is_recognised(
    lnav: Callable[..., str], start_server: StartServer, connect: Connect, dial: Dial
) -> None:
    # Given the log of a server at which many things have happened, a stack of many lines among them
    server = start_server(
        "--log-messages", "--log-interval", "0.1", "--max-connections", "3", "--drain-timeout", "0.2"
    )
    ann, bob = connect(server, "ann"), connect(server, "bob")
    for number in range(20):
        ann.say(f"hi {number}")
    bob.expect_refusal("join", room="@nobody")
    bob.send_frame("quit")
    bob.expect_bye()
    for _ in range(4):
        dial(server).send(b"GET / HTTP/1.1\r\n\r\n")
    server.wait_logged("connection_refused")
    for number in (signal.SIGUSR1, signal.SIGHUP):
        server.send_signal(number)
    server.wait_logged("stacks")
    server.wait_logged("limits_reloaded")
    eventually(lambda: len(server.entries("interval")) > 3)
    ann.close()
    assert server.stop() == 0
    entries: list[dict[str, Any]] = server.entries()

    # When lnav reads it
    columns = "log_line, log_time_msecs, log_level, event, node, username, seq, messages, errors, stack"
    said = lnav(
        "-n", "-c", f";SELECT {columns} FROM greenroom_log", "-c", ":write-json-to -", str(server.log_path)
    )
    rows = json.loads(said)

    # Then it has each line, in its order, with its level, its time and its fields
    assert len(rows) == len(entries) > 30
    for row, entry in zip(rows, entries, strict=True):
        assert row["event"] == entry["event"]
        assert row["log_level"] == entry["level"]
        milliseconds = int(datetime.fromisoformat(entry["ts"]).timestamp() * 1000)
        assert abs(int(row["log_time_msecs"]) - milliseconds) <= 1
        assert row["node"] == entry["node"]
        assert row["username"] == entry.get("username")
        assert row["stack"] == entry.get("stack")
        for count in ("seq", "messages"):
            assert (None if row[count] is None else int(row[count])) == entry.get(count)
        assert (row["errors"] or {}) == entry.get("errors", {})
    levels = {row["log_level"] for row in rows}
    assert levels == {"info", "warning"}

    # And what people see is a line for each, with what matters most
    seen = lnav("-n", str(server.log_path))
    assert f"session_opened     {ann.username} 127.0.0.1:" in seen
    assert "HIST" not in seen
