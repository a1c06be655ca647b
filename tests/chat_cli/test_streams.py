"""Standard streams: real processes, with descriptors that are closed, full, non-blocking or broken."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2] / "server"
HEAD = "import sys, os\nfrom chat_cli import streams\n"
RUN = "sys.exit(streams.run('prog', main, output_failed=9, reader_gone=8))"


def run(
    body: str, redirection: str = "", *, tail: str = RUN, **how: object
) -> subprocess.CompletedProcess[str]:
    """Run a program that defines `main`, in a shell that redirects."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", f"{HEAD}{body}\n{tail}"],
        env=os.environ | {"PYTHONPATH": str(SERVER)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )


PRINT = "def main():\n    print('x' * 10)\n    return 0"
PRINT_MUCH = "def main():\n    for _ in range(100_000): print('x' * 10)\n    return 0"
EXIT = "def main():\n    print('usage')\n    raise SystemExit(0)"


@pytest.mark.parametrize("body", [PRINT, PRINT_MUCH, EXIT])
@pytest.mark.parametrize("mode", ["", "1"])
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("", 0, ""),
        (">&-", 9, "prog: cannot write to standard output: Bad file descriptor\n"),
        ("> /dev/full", 9, "prog: cannot write to standard output: No space left on device\n"),
        ("1< /dev/null", 9, "prog: cannot write to standard output: Bad file descriptor\n"),
        ("> /dev/full 2>&-", 9, ""),
        ("> /dev/full 2> /dev/full", 9, ""),
        (">&- 2>&- <&-", 9, ""),
    ],
)
def test_output_that_cannot_be_written_ends_with_the_code(
    body: str, mode: str, redirection: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", mode)
    done = run(body, redirection)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("body", [PRINT, PRINT_MUCH, EXIT])
def test_pipe_without_a_reader_ends_quietly(body: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", f"{HEAD}{body}\n{RUN}"],
        env=os.environ | {"PYTHONPATH": str(SERVER)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (8, b"")


def test_closed_output_may_have_a_code_of_its_own() -> None:
    tail = "sys.exit(streams.run('prog', main, output_failed=9, reader_gone=8, output_closed=7))"
    assert run(PRINT, ">&-", tail=tail).returncode == 7
    assert run(PRINT, "> /dev/full", tail=tail).returncode == 9


def test_closed_output_does_no_harm_if_nothing_is_printed() -> None:
    done = run("def main():\n    print('', end='')\n    return 3", ">&-")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_error_that_cannot_be_shown_changes_nothing(redirection: str) -> None:
    body = "def main():\n    streams.print_error('prog', 'x' * 100_000)\n    print('done')\n    return 4"
    done = run(body, redirection)
    assert (done.returncode, done.stdout, done.stderr) == (4, "done\n", "")


def test_interrupt_ends_with_130_and_what_was_printed() -> None:
    body = "def main():\n    print('some')\n    raise KeyboardInterrupt"
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (130, "some\n", "")


def test_bug_is_not_hidden() -> None:
    done = run("def main():\n    print('some')\n    raise LookupError('bug')")
    assert (done.returncode, done.stdout) == (1, "some\n")
    assert "LookupError: bug" in done.stderr


def test_descriptors_of_closed_streams_are_not_given_to_files(tmp_path: Path) -> None:
    target = tmp_path / "file"
    body = (
        "def main():\n"
        f"    file = os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)\n"
        "    os.write(2, b'error'); os.write(1, b'output')\n"
        "    return file"
    )
    done = run(body, ">&- 2>&- <&-")
    assert done.returncode > 2
    assert target.read_bytes() == b""


def test_stdin_that_is_closed_is_none() -> None:
    assert run("def main():\n    return 5 if sys.stdin is None else 6", "<&-").returncode == 5


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_character_that_the_encoding_lacks_is_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = run("def main():\n    print('a\\u2500\\udce9')\n    return 0")
    assert (done.returncode, done.stdout) == (0, "a\\u2500\\udce9\n")


def test_error_is_one_line_without_control_characters() -> None:
    done = run("def main():\n    streams.print_error('prog', 'a\\nb\\x1b[2J\\u202e\\udce9')\n    return 0")
    assert done.stderr == "prog: a b\ufffd[2J\ufffd\ufffd\n"


def test_output_is_written_once_whenever_a_signal_comes() -> None:
    """A signal between the write of the kernel and its return must not write the same again."""
    body = (
        "import signal, threading\n"
        "def main():\n"
        "    try:\n"
        "        for n in range(1_000_000): print(n, flush=True)\n"
        "    except KeyboardInterrupt: pass\n"
        "    return 0"
    )
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", f"{HEAD}{body}\n{RUN}"],
            env=os.environ | {"PYTHONPATH": str(SERVER)},
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait(60) == 0
        numbers = [int(line) for line in (first + rest).splitlines()]
        assert numbers == list(range(len(numbers)))


def test_non_blocking_pipe_gets_everything() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEAD}{PRINT_MUCH}\n{RUN}"],
        env=os.environ | {"PYTHONPATH": str(SERVER)},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"xxxxxxxxxx\n" * 100_000
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("redirection", "problem"),
    [("", ""), (">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")],
)
def test_plugin_learns_why_output_failed(redirection: str, problem: str) -> None:
    body = "print(streams.output_problem('text\\n'), file=sys.stderr)"
    done = run(body, redirection, tail="")
    assert (done.returncode, done.stderr) == (0, f"{problem}\n")
