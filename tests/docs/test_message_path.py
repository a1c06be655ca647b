"""The path of a message is the table of docs/architecture.md: what a server in this process enters."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import gevent
import greenlet
import pytest

from chat_protocol.commands import Hello, Message
from chat_protocol.dialects.ndjson import encode
from chat_server.app import Server
from chat_server.observability.event_log import setup
from support.log_files.log_setup import NO_ENVIRONMENT, config, until
from support.processes.process import TIMEOUT_S

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server"
OBSERVERS = SERVER / "chat_server" / "observability"
STEP = re.compile(r"^\| [^|]+ \| `([\w/]+\.py)`: ([^|(]+)[^|]*\|", re.MULTILINE)
"""A row of the table: the file, and its functions; what is in parentheses is for other dialects."""
CALLED_BY_STEPS = {
    "chat_protocol/framing/lines.py",
    "chat_protocol/message_text.py",
    "chat_server/core/base/interval_stats.py",
    "chat_server/core/assembly.py",
    "chat_server/core/base/rate_limit.py",
    "chat_server/core/delivery/batch.py",
    "chat_server/core/delivery/observer.py",
    "chat_server/core/identity/permissions.py",
    "chat_server/core/sessions/session.py",
    "chat_server/engines/sqlite/tail_guard.py",
    "chat_server/jobs/commit_loop.py",
    "chat_server/net/reader.py",
}
"""Files besides the path: values that the steps compute with, the permission check, and the loop that drives
the committer."""


class EntryRecorder:
    """Records, over all greenlets, which functions of the server are called or call C functions."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], None] = {}

    def __enter__(self) -> Self:
        greenlet.settrace(self._on_switch)
        return self

    def __exit__(self, *_: object) -> None:
        greenlet.settrace(None)
        sys.setprofile(None)

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(file for file, _ in self.entries))

    def _on_switch(self, _event: str, _greenlets: object) -> None:
        sys.setprofile(self._on_event)  # each greenlet has its own

    def _on_event(self, frame: FrameType, event: str, _argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event in {"call", "c_call"} and file.is_relative_to(SERVER) and OBSERVERS not in file.parents:
            self.entries[str(file.relative_to(SERVER)), frame.f_code.co_name] = None


def path_steps() -> list[tuple[str, list[str]]]:
    """Return the file and the functions of each step of the table."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    path = page.partition("## The path")[2].partition("## ")[0]
    return [(file, re.findall(r"`(\w+)`", functions)) for file, functions in STEP.findall(path)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = config(tmp_path / "chat.log", port=0, store=str(tmp_path / "chat.db"))
    one = Server(settings, setup(settings, NO_ENVIRONMENT))
    one.start()
    yield one
    one.stop("test")


def test_message_enters_the_files_of_the_table_in_their_order(server: Server) -> None:
    # Given a user whose first message has created the room, and nothing else that runs
    with gevent.socket.create_connection(("127.0.0.1", server.port), TIMEOUT_S) as sock:
        lines: Any = sock.makefile("rb")
        sock.sendall(encode(Hello(username="ann")) + encode(Message(message="first", ref="1")))
        while b'"first"' not in lines.readline():
            pass
        gevent.killall(server._greenlets[1:])
        server.watchdog.stop()
        until(lambda: server.core.committer.idle)
        # When a message is sent and comes back
        with EntryRecorder() as recorder:
            sock.sendall(encode(Message(message="second", ref="2")))
            while b'"second"' not in lines.readline():
                pass
        lines.close()
    # Then it has entered the files of the table, in this order, and no others but what its steps call
    steps = path_steps()
    assert len(steps) == 10
    assert [file for file in recorder.files if file not in CALLED_BY_STEPS] == [file for file, _ in steps]
    for file, functions in steps:
        for function in functions:
            if function != "_serve":  # it runs already, and waits for input
                assert (file, function) in recorder.entries
