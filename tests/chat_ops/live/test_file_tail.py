import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ops.live import file_tail
from chat_ops.live.file_tail import FileTail
from chat_ops.live.stdin_lines import StdinLines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def following(path: Path) -> Iterator[FileTail]:
    one = FileTail(path)
    yield one
    one.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_that_is_not_there_yet(path: Path, following: FileTail) -> None:
    assert list(following.lines()) == []
    assert following.trouble == "No such file or directory"
    append(path, b"one\n")
    assert list(following.lines()) == [b"one"]
    assert following.trouble == ""


def test_a_line_counts_when_it_is_whole(path: Path, following: FileTail) -> None:
    append(path, b"one\ntw")
    assert list(following.lines()) == [b"one"]
    append(path, b"o")
    assert list(following.lines()) == []
    append(path, b"\nthree\n")
    assert list(following.lines()) == [b"two", b"three"]
    assert following.lost == 0


def test_a_renamed_file_is_read_on_beside_the_new_one(path: Path, following: FileTail) -> None:
    append(path, b"one\n")
    assert list(following.lines()) == [b"one"]
    old = path.with_suffix(".1")
    # Given it is renamed, and the server writes to it until SIGHUP
    path.rename(old)
    append(old, b"two\nthr")
    assert list(following.lines()) == [b"two"]
    path.touch()
    assert list(following.lines()) == []
    append(old, b"ee\n")
    append(path, b"four\n")
    # Then the old one's last lines are there, before the new one's
    assert list(following.lines()) == [b"three", b"four"]
    # And packing it takes nothing away
    with gzip.open(old.with_suffix(".gz"), "wb") as packed:
        packed.write(old.read_bytes())
    old.unlink()
    append(path, b"five\n")
    assert list(following.lines()) == [b"five"]


def test_an_old_file_is_let_go_after_a_while(path: Path) -> None:
    now = [0.0]
    following = FileTail(path, clock=lambda: now[0])
    append(path, b"one\n")
    files = len(list(Path("/proc/self/fd").iterdir()))
    list(following.lines())
    for _ in range(5):  # rotated again and again
        path.rename(path.with_suffix(".1"))
        append(path, b"x\n")
        assert list(following.lines()) == [b"x"]
    now[0] = file_tail.ROTATED_FILE_GRACE_S
    list(following.lines())
    assert len(list(Path("/proc/self/fd").iterdir())) == files + 1
    following.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == files


def test_a_file_that_is_cut_is_read_from_its_beginning(path: Path, following: FileTail) -> None:
    append(path, b"one\ntwo\nhalf")
    list(following.lines())
    os.truncate(path, 0)
    append(path, b"new\n")
    assert list(following.lines()) == [b"new"]
    assert following.lost == 1  # the half line


def test_a_file_that_is_cut_and_has_grown_past_where_it_was(path: Path, following: FileTail) -> None:
    append(path, b"2026 one\n")
    list(following.lines())
    os.truncate(path, 0)
    append(path, b"2027 another\n2028 longer than before\n")
    assert list(following.lines()) == [b"2027 another", b"2028 longer than before"]


def test_of_an_old_log_the_end_is_read_from_a_whole_line_on(path: Path) -> None:
    append(path, b"".join(b"line %d\n" % n for n in range(1000)))
    following = FileTail(path, backlog_bytes=25)
    assert list(following.lines()) == [b"line 998", b"line 999"]
    path.rename(path.with_suffix(".1"))
    append(path, b"".join(b"new %d\n" % n for n in range(1000)))
    assert len(list(following.lines())) == 1000  # of a file that has come since, all
    following.close()


def test_a_line_without_end_takes_no_memory(
    path: Path, following: FileTail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_tail, "MAX_LINE_BYTES", 1000)
    append(path, b"one\n" + b"x" * 600_000)
    assert list(following.lines()) == [b"one"]
    append(path, b"x" * 600_000)
    assert list(following.lines()) == []
    append(path, b"x\ntwo\n")
    assert list(following.lines()) == [b"two"]
    assert following.lost == 1


def test_unreadable_input_gives_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    following = FileTail(loop)
    assert list(following.lines()) == []
    assert "symbolic links" in following.trouble


STEPS = st.lists(st.sampled_from(["line", "half", "poll", "rename", "create", "cut"]), max_size=30)


@given(STEPS)
@settings(max_examples=80, deadline=None)
def test_each_line_comes_once_and_in_order_whatever_is_done_to_the_file(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        following = FileTail(path)
        writer = path.open("ab")
        written: list[bytes] = []
        got: list[bytes] = []
        pending = b""
        for number, step in enumerate([*steps, "line", "poll"]):
            if step == "line":
                text = b"%d " % number + b"word " * (number % 7)
                writer.write(text + b"\n")
                written.append(pending + text)
                pending = b""
            elif step == "half" and not pending:
                pending = b"half %d " % number
                writer.write(pending)
            elif step == "poll":
                got += following.lines()
            elif step == "rename" and path.exists():
                got += following.lines()
                path.rename(path.with_suffix(f".{number}"))
            elif step == "create" and not path.exists() and not pending:  # as the server at SIGHUP
                writer.close()
                writer = path.open("ab")
            elif step == "cut" and path.exists() and not pending:
                got += following.lines()  # what is cut away before anybody has looked is gone
                os.truncate(path, 0)
                got += following.lines()
            writer.flush()
        got += following.lines()
        following.close()
        writer.close()
        assert got == written


def test_a_stream_ends() -> None:
    reader, writer = os.pipe()
    stream = StdinLines(reader)
    os.write(writer, b"one\ntw")
    assert list(stream.lines()) == [b"one"]
    os.write(writer, b"o\nrest")
    assert list(stream.lines()) == [b"two"]
    assert (stream.ended, stream.lost) == (False, 0)
    os.close(writer)
    assert list(stream.lines()) == []
    assert (stream.ended, stream.lost) == (True, 1)
    os.close(reader)
