"""The server starts and serves whatever becomes of its standard streams."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.processes.fixtures import Connect, StartServer
from support.processes.peer import NdjsonPeer
from support.processes.process import TIMEOUT_S, clean_environment
from support.processes.start import SERVER, STORE_IN_MEMORY, Start


@pytest.mark.parametrize(
    "redirections",
    ["2>&-", "2>/dev/full", "<&- >&- 2>&-", "</dev/full >/dev/full 2>/dev/full", "2>&1 >/dev/null | true"],
)
def test_server_runs_whatever_becomes_of_its_standard_streams(
    redirections: str, tmp_path: Path, starts: list[Start]
) -> None:
    starts.append(Start(tmp_path, redirections))
    with NdjsonPeer(starts[0].wait_serving()) as ann:
        ann.hello("ann")
        ann.say("hi")


def test_server_whose_standard_error_is_not_read_serves_all_rooms(
    start_server: StartServer, connect: Connect
) -> None:
    # Given a standard error that is a full pipe, and a log that cannot be written, which is reported there
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    server = start_server("--store", "memory", wait=False, stderr=writing)
    os.close(writing)

    # When it starts, then it serves, is asked for its stacks, and stops
    server.port = server.wait_logged("server_started")["port"]
    ann = connect(server, "ann")
    server.send_signal(signal.SIGUSR1)
    server.wait_logged("stacks")
    ann.say("hi")
    ann.close()
    assert server.stop() == 0
    os.close(reading)


def test_descriptors_of_closed_standard_streams_are_not_reused(tmp_path: Path, starts: list[Start]) -> None:
    starts.append(Start(tmp_path, "<&- >&- 2>&-", "--store", f"sqlite:///{tmp_path}/chat.db"))
    starts[0].wait_serving()
    pid = starts[0].process.pid
    assert {Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)} == {Path("/dev/null")}


@pytest.mark.parametrize("redirections", [">&-", "<&- >&- 2>&-"])
def test_server_that_would_log_to_a_closed_standard_output_does_not_start(
    redirections: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirections}', SERVER, *STORE_IN_MEMORY],
        env=clean_environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    said = "chat-server: cannot write the log to standard output: standard output is closed\n"
    assert done.stderr == ("" if "2>&-" in redirections else said)


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full"])
def test_exit_code_of_a_refused_start_does_not_depend_on_standard_error(
    redirections: str, tmp_path: Path
) -> None:
    wrong, unusable = (
        Start(tmp_path, redirections, "--sync", "x"),
        Start(tmp_path, redirections, "--host", "192.0.2.1"),
    )
    assert (wrong.process.wait(TIMEOUT_S), unusable.process.wait(TIMEOUT_S)) == (2, 1)


@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), (">&-", 1), ("| true", 0)])
def test_help_that_cannot_be_written(redirection: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" --help {redirection}; exit "${{PIPESTATUS[0]}}"', SERVER],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert not code or "chat-server: cannot write to standard output" in done.stderr


def test_start_in_a_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd {gone} && rmdir {gone} && exec "$0" "$@"'
    process = subprocess.Popen(
        ["sh", "-c", command, SERVER, *STORE_IN_MEMORY],
        env=clean_environment(tmp_path) | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"Greenroom listens")
        process.terminate()
    assert process.returncode == 0
