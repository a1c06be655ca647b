"""Commands with closed, full and broken standard streams."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from goldens.reports import LOG
from support.processes.peer import NdjsonPeer
from support.processes.process import BIN_DIR, TIMEOUT_S, ServerProcess, clean_environment
from support.processes.scrape import free_port

Known = dict[str, object]
"""What a command may name in braces: a server's `port`, a `free` one, a `folder`, a `bad_log`."""

WITHOUT_ERRORS = ["2>&-", "2> /dev/full", ">&- 2>&-", "< /dev/null >&- 2>&- <&-", "2>&1 > /dev/null | true"]
"""Redirections with which nothing can be said on standard error."""


@contextmanager
def surroundings(folder: Path) -> Iterator[Known]:
    """Return what commands may name; a server runs meanwhile."""
    server = ServerProcess(folder)
    with NdjsonPeer(server.port) as ann:
        ann.hello("ann")
        ann.say("hello")
        bad_log = folder / "bad.log"  # each report has at least the table of the bad line to print
        bad_log.write_text(Path(LOG).read_text() + "garbage\n")
        yield {"port": server.port, "free": free_port(), "folder": folder, "bad_log": bad_log}
    assert server.stop() == 0


def run(command: str, known: Known, redirection: str, stdin: str = "< /dev/null") -> tuple[int, str]:
    """Run a command in a shell; return its exit code, and what it said on standard error.

    `+` is a space inside an argument.
    """
    program, *words = [word.format_map(known).replace("+", " ") for word in command.split()]
    folder = Path(str(known["folder"]))
    errors = folder / "errors"
    errors.write_text("")
    source = f"< {LOG}" if "follow" in command and stdin == "< /dev/null" else stdin
    line = f'"$@" {source} {redirection}'
    with errors.open("a") as file:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line, "bash", str(BIN_DIR / program), *words],
            env=clean_environment(folder) | {"COLUMNS": "100"},
            stdout=subprocess.DEVNULL,
            stderr=file,
            timeout=TIMEOUT_S * 3,
            check=False,
        )
    said = errors.read_text()
    assert "Traceback" not in said
    assert "Exception" not in said
    return done.returncode, said


def run_without_reader(command: str, known: Known) -> tuple[int, bytes]:
    """Run a command that prints into a pipe without a reader; return its exit code, and what it said."""
    reader, writer = os.pipe()
    os.close(reader)
    program, *words = [word.format_map(known).replace("+", " ") for word in command.split()]
    with Path(LOG).open("rb") as log:
        done = subprocess.run(
            [BIN_DIR / program, *words],
            env=clean_environment(Path(str(known["folder"]))),
            stdin=log,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S * 3,
            check=False,
        )
    os.close(writer)
    return done.returncode, done.stderr
