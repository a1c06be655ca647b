import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.log_files.report_runner import ReportAnswer, Row, encoded_histogram, interval_line, log_line
from support.processes.process import BIN_DIR, TIMEOUT_S, clean_environment, eventually


def append(path: Path, *lines: Row) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)


class Screen:
    """`chat-logs follow` on a terminal of its own: what it draws, and the keys it gets."""

    def __init__(self, path: Path, folder: Path, *, rows: int = 40, **environ: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 120, 0, 0))
        self.modes = termios.tcgetattr(slave)
        self.slave = slave
        self.drawn = b""  # since the last look
        self.seen = b""
        self.process = subprocess.Popen(
            [str(BIN_DIR / "chat-logs"), "follow", str(path)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**clean_environment(folder), "TERM": "xterm-256color", **environ},
            start_new_session=True,
        )

    def shows(self, text: str) -> None:
        """Wait until the text has been drawn since the last call."""

        def look() -> bool:
            while select.select([self.master], [], [], 0.01)[0]:
                self.drawn += os.read(self.master, 65536)
            return text.encode() in self.drawn

        eventually(look, f"{text!r} on the screen")
        self.seen += self.drawn
        self.drawn = b""

    def press(self, keys: bytes) -> int:
        os.write(self.master, keys)
        return self.left()

    def left(self) -> int:
        """Wait for its end, reading what it draws; return its exit code."""

        def ended() -> bool:
            while select.select([self.master], [], [], 0.01)[0]:
                self.drawn += os.read(self.master, 65536)
            return self.process.poll() is not None

        eventually(ended, "the end")
        assert termios.tcgetattr(self.slave) == self.modes
        assert b"\x1b[?1049l" in self.drawn  # the screen that was there before
        assert b"Traceback" not in self.drawn
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[Any]:
    opened: list[Screen] = []

    def start(path: Path, **how: Any) -> Screen:
        opened.append(Screen(path, tmp_path, **how))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_log_that_comes_grows_and_is_rotated(tmp_path: Path, screens: Any) -> None:
    # Given a log that is not there yet
    path = tmp_path / "server.log"
    screen = screens(path)
    screen.shows("No such file or directory")
    # When the server writes
    append(
        path,
        log_line(0, "server_started", port=7000),
        interval_line(10, messages=770, rtt=encoded_histogram(5000)),
    )
    screen.shows("77.0")
    # And is rotated
    path.rename(tmp_path / "server.log.1")
    append(path, interval_line(20, messages=880))
    screen.shows("88.0")
    # And copied and cut
    os.truncate(path, 0)
    append(path, interval_line(30, messages=990), log_line(31, "disk_low", level="warning", free_bytes=1))
    screen.shows("disk_low")
    # Then q ends it
    assert screen.press(b"q") == 0


def test_ctrl_c_and_sigterm_leave_the_terminal_as_it_was(tmp_path: Path, screens: Any) -> None:
    path = tmp_path / "server.log"
    append(path, interval_line(10, errors={"bad_frame": 3}))
    for number in (signal.SIGINT, signal.SIGTERM):
        screen = screens(path)
        screen.shows("bad_frame")
        screen.shows("no interval for")  # the log's last is long ago
        screen.process.send_signal(number)
        assert screen.left() == 0


def test_no_color(tmp_path: Path, screens: Any) -> None:
    path = tmp_path / "server.log"
    append(path, interval_line(10, errors={"bad_frame": 3}))
    colours = []
    for environ in ({}, {"NO_COLOR": "1"}):
        screen = screens(path, **environ)
        screen.shows("q quits")
        assert screen.press(b"q") == 0
        colours.append(b"\x1b[31m" in screen.seen)
    assert colours == [True, False]


def follow(folder: Path, *args: str, **how: Any) -> subprocess.Popen[str]:
    command = [str(BIN_DIR / "chat-logs"), "follow", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment(folder), text=True, **how)


def test_a_pipe_gets_a_line_an_interval(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    append(
        path,
        interval_line(10, messages=70, accept_to_commit=encoded_histogram(100)),
        log_line(11, "session_opened"),
    )
    with follow(tmp_path, str(path), stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("2026-11-21 09:00:10, n, 1 sessions, 7.0 msg/s in")
        assert "commit p99 100 µs" in first
        append(path, interval_line(20, messages=80, errors={"x": 2}))
        assert "8.0 msg/s in, 0.0 msg/s out, 2 errors" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0


def test_standard_input_to_its_end_as_json(tmp_path: Path) -> None:
    lines = [interval_line(10, messages=70), log_line(11, "trimmed"), interval_line(20, messages=5)]
    with follow(tmp_path, "-", "--json", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate("".join(json.dumps(one) + "\n" for one in lines), TIMEOUT_S)
    assert [json.loads(text)["messages"] for text in out.splitlines()] == [7, 0.5]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--since", "2h", "x"), "does not support --since"),
        (("--anonymize", "x"), "does not support --anonymize"),
        (("--csv", "x"), "does not support --csv"),
        (("/",), "is a directory"),
    ],
)
def test_what_it_cannot_do_is_refused(args: tuple[str, ...], says: str) -> None:
    form, rest = ([args[0]], args[1:]) if args[0] == "--csv" else ([], args)
    answer = ReportAnswer(*form, "follow", *rest)
    assert answer.code == 2
    assert says in answer.errors


def test_a_real_servers_log(real_log: Path, tmp_path: Path) -> None:
    with real_log.open() as log, follow(tmp_path, "-", stdin=log) as process:
        out, _ = process.communicate(timeout=TIMEOUT_S)
    lines = out.splitlines()
    assert len(lines) == real_log.read_text().count('"event":"interval"')
    assert any("rtt p99" in text for text in lines)
