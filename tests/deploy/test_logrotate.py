"""The real logrotate rotates the log of a running server without losing a line."""

import getpass
import grp
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support.processes.fixtures import Connect, StartServer
from support.processes.process import eventually

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"


def test_a_log_is_rotated_under_a_running_server(
    tool: Callable[[str], str], start_server: StartServer, connect: Connect, tmp_path: Path
) -> None:
    # Given a server that logs each message to a file, and logrotate's rule for it
    server = start_server("--log-messages", "--drain-timeout", "0.2", log_file=True)
    logs = server.folder
    text = (DEPLOY / "greenroom.logrotate").read_text()
    rule = tmp_path / "rule"
    me = f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    for theirs, ours in (
        ("/var/log/greenroom/", f"{logs}/"),
        ("su greenroom greenroom", f"su {me}"),
        ("systemctl reload greenroom.service", f"kill -HUP {server.process.pid}"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    rule.write_text(text)
    rule.chmod(0o644)
    ann = connect(server, "ann")

    # When it is rotated twice under load
    said = second = 0
    for rotation in range(1, 3):
        # The old log is named after the second.
        eventually(lambda since=second: int(time.time()) > since, "the next second")  # type: ignore[misc]
        for _ in range(50):
            ann.say(f"message {said}")
            said += 1
        command = [tool("logrotate"), "--force", "--state", str(tmp_path / "state"), str(rule)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        second = int(time.time())
        assert done.returncode == 0, done.stderr
        ann.say(f"message {said}")
        said += 1
        eventually(
            lambda: server.log_path.exists() and server.entries("log_reopened"), f"rotation {rotation}"
        )
    assert server.stop() == 0

    # Then the second-last log is compressed, the last and the present one are not
    archives = sorted(logs.glob("server.log*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(archives) == 3
    assert sum(path.suffix == ".gz" for path in archives) == 1

    # And together they have each line once
    lines = []
    for path in archives:
        raw = subprocess.run(["zcat", "-f", str(path)], capture_output=True, check=True).stdout
        lines += [json.loads(line) for line in raw.splitlines()]
    assert sorted(line["seq"] for line in lines if line["event"] == "message") == list(range(1, said + 1))
    assert [line["event"] for line in lines].count("server_stopped") == 1
