"""What `send` makes of bytes: encodings, marks, line ends, and arguments that are no text."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chat_client import Client
from chat_client.commands.input_lines import MAX_LINE_BYTES

COMMAND = str(Path(sys.executable).parent / "chat-client")
TESTS = Path(__file__).parents[2]
UTF8 = {"LC_ALL": "C.UTF-8"}


def send(env: dict[str, str], server: Any, room: str, stdin: bytes) -> tuple[int, str]:
    done = subprocess.run(
        [COMMAND, "send", "--server", server.address, "--room", room],
        input=stdin,
        env=env | UTF8,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not done.stdout
    return done.returncode, done.stderr.decode()


def stored(server: Any, room: str) -> list[str]:
    with Client(f"look-{room}"[:32], server.address, rooms=[room]) as client:
        return [event.message for event in client.history(room, after=0, limit=None)]


@pytest.mark.parametrize(
    ("room", "stdin", "lines"),
    [
        ("bom", b"\xef\xbb\xbfhi\nthere\n", ["hi", "there"]),
        ("bom-alone", b"\xef\xbb\xbf\nx", ["x"]),
        ("cr-progress", b"10%\r20%\n100%\n", ["10%", "20%", "100%"]),
        ("cr-mac", b"one\rtwo\rthree", ["one", "two", "three"]),
        ("crlf", b"one\r\n\r\ntwo\r\n", ["one", "two"]),
        ("utf8", "grün\n日本\n".encode(), ["grün", "日本"]),
        ("no-end", b"a\nb", ["a", "b"]),
    ],
)
def test_lines_arrive_whole(
    env: dict[str, str], server: Any, room: str, stdin: bytes, lines: list[str]
) -> None:
    assert send(env, server, room, stdin) == (0, "")
    assert stored(server, room) == lines


def test_line_ends_are_found_at_any_chunk_border(env: dict[str, str], server: Any) -> None:
    process = subprocess.Popen(
        [COMMAND, "send", "--server", server.address, "--room", "chunks"], stdin=subprocess.PIPE, env=env
    )
    assert process.stdin is not None
    with Client("look-chunks-live", server.address, rooms=["chunks"]) as client:
        seen: list[str] = []
        # Each part is sent alone: the lines that it completes are seen before the next.
        for part, complete in ((b"on", 0), (b"e\r", 1), (b"\ntwo\r\nthree\n", 3), (b"\n\rfour", 3)):
            process.stdin.write(part)
            process.stdin.flush()
            while len(seen) < complete:
                seen += filter(None, [getattr(client.next_event(60), "message", "")])
        process.stdin.close()
        assert process.wait(60) == 0
    assert stored(server, "chunks") == ["one", "two", "three", "four"]


def test_line_that_is_not_utf8_is_named_and_the_rest_is_sent(env: dict[str, str], server: Any) -> None:
    code, said = send(env, server, "latin1", b"first\ncaf\xe9\n\nlast\n")
    assert code == 4
    assert said.splitlines() == [
        "chat-client: line 2 was not sent: it is not UTF-8 text (the byte 0xE9): 'caf\\xe9'",
        "chat-client: 2 of 3 lines sent; not sent: line 2",
    ]
    assert stored(server, "latin1") == ["first", "last"]


def test_line_with_a_control_character_is_not_sent_in_part(env: dict[str, str], server: Any) -> None:
    code, said = send(env, server, "control", b"a\n" + b"word " * 3000 + b"\x1b[2J\nb\n")
    assert code == 4
    assert "line 2 was not sent" in said
    assert stored(server, "control") == ["a", "b"]


def test_many_bad_lines_do_not_fill_the_screen(env: dict[str, str], server: Any) -> None:
    code, said = send(env, server, "binary", b"ok\n" + b"\xff\n" * 1000)
    assert code == 4
    assert len(said.splitlines()) == 11
    assert "1 of 1,001 lines sent; not sent: line 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 990 more" in said
    assert stored(server, "binary") == ["ok"]


def test_utf16_is_named(env: dict[str, str], server: Any) -> None:
    code, said = send(env, server, "utf16", "hi\nthere\n".encode("utf-16"))
    assert code == 2
    assert "UTF-16" in said
    assert stored(server, "utf16") == []


def test_endless_line_takes_bounded_memory(env: dict[str, str]) -> None:
    written = (
        "import sys\nsys.stdout.buffer.write(b'a')\n"
        f"for _ in range(40): sys.stdout.buffer.write('ä'.encode() * {MAX_LINE_BYTES // 2})"
    )
    read = (
        "import chat_client.commands.input_lines as lines\nfrom support.processes.memory import peak_kib\n"
        "found = [(len(line.text), line.number, line.problem) for line in lines.stdin_lines()]\n"
        "whole = all((number, problem) == (1, None) for _, number, problem in found)\n"
        "print(sum(length for length, *_ in found), whole)\n"
        "print(peak_kib() // 1024)"
    )
    with subprocess.Popen([sys.executable, "-c", written], stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            [sys.executable, "-c", read],
            stdin=source.stdout,
            env=env | {"PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            check=True,
        )
    count, whole, used_mib = done.stdout.split()
    assert (int(count), whole) == (1 + 20 * MAX_LINE_BYTES, "True")
    assert int(used_mib) < 100


@pytest.mark.parametrize("command", ["send", "tail", "rtt"])
@pytest.mark.parametrize("flag", ["--username", "--server", "--host"])
def test_name_or_address_that_is_no_text_is_wrong_usage(env: dict[str, str], command: str, flag: str) -> None:
    done = subprocess.run(
        [COMMAND.encode(), command.encode(), flag.encode(), b"a\xe9"],
        env=env | UTF8,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("to", [b"--room", b"--to"])
def test_room_or_user_that_is_no_text_is_wrong_usage(env: dict[str, str], to: bytes) -> None:
    done = subprocess.run(
        [COMMAND.encode(), b"send", to, b"a\xe9", b"hi"], env=env | UTF8, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert to + b" 'a\\udce9'" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("locale", ["C.UTF-8", "C", "POSIX"])
def test_text_argument_that_is_no_text_is_refused(env: dict[str, str], server: Any, locale: str) -> None:
    done = subprocess.run(
        [COMMAND.encode(), b"send", b"--server", server.address.encode(), b"--room", b"bytes", b"caf\xe9"],
        env=env | {"LC_ALL": locale},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.count(b"\n") == 1
    assert re.match(rb"chat-client: not sent: .*'caf\\udce9'", done.stderr)
    assert stored(server, "bytes") == []
