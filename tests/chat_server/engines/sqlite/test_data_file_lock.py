"""One server for a data file, by whatever path; and no file that a link leads to is changed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_server.engines.sqlite.data_file_lock import SIDE_FILES, StoreLocked
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, texts
from support.engines.program import run_program

Open = Callable[..., SqliteEngine]

OPEN = """
try:
    store = open_sqlite(Path(sys.argv[1]), time.time)
    print("opened", flush=True)
except Exception as error:
    print(type(error).__name__, error, flush=True)
sys.stdin.read()
"""


def try_elsewhere(path: Path) -> str:
    """Return what another process says when it opens the data file."""
    with run_program(OPEN, path, stdin=subprocess.PIPE) as process:
        assert process.stdout
        return process.stdout.readline()


def link_symbolically(path: Path, other: Path) -> None:
    other.symlink_to(path)


def link_folder(path: Path, other: Path) -> None:
    other.parent.rmdir()
    other.parent.symlink_to(path.parent)


def link_hard(path: Path, other: Path) -> None:
    other.hardlink_to(path)


@pytest.mark.parametrize("link", [link_symbolically, link_folder, link_hard])
def test_file_of_another_name_is_refused_with_the_pid(
    open_store: Open, path: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one")
    other = tmp_path / "other" / (path.name if link is link_folder else "link.db")
    other.parent.mkdir()
    link(path, other)
    before = {one.name for one in path.parent.iterdir()}
    assert re.fullmatch(rf"StoreLocked .* process id {os.getpid()}\n", try_elsewhere(other))
    with pytest.raises(StoreLocked, match=f"process id {os.getpid()}$"):
        open_store(other)
    pen.say("a", "two")
    assert texts(store, pen.room("a")) == ["one", "two"]
    assert {one.name for one in path.parent.iterdir()} == before
    store.close()
    assert try_elsewhere(other) == "opened\n"


def test_symbolic_link_keeps_the_other_files_beside_the_data(
    open_store: Open, path: Path, tmp_path: Path
) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one")
    store.close()
    other = tmp_path / "link.db"
    other.symlink_to(path)
    store = open_store(other)
    assert store.location == str(path)
    assert not store.epoch_changed
    assert texts(store, store.public_rooms()[0]) == ["one"]
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["link.db"]


def test_locks_of_sqlite_are_kept_when_the_file_is_refused_here(open_store: Open, path: Path) -> None:
    """A descriptor that is closed in this process would drop them: nobody else could be kept out."""
    store = open_store()
    other = path.with_name("hard.db")
    other.hardlink_to(path)
    store._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLocked):
        open_store(other)
    write = """
import sqlite3
try:
    sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0).execute("BEGIN IMMEDIATE")
    print("written")
except sqlite3.OperationalError as error:
    print(error)
"""
    with run_program(write, path) as process:
        output, _ = process.communicate(timeout=60)
    assert output == "database is locked\n"
    store._connection.execute("ROLLBACK")


@pytest.mark.parametrize("suffix", SIDE_FILES)
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_file_beside_the_data_that_is_not_a_regular_one_is_refused(
    open_store: Open, path: Path, tmp_path: Path, suffix: str, kind: str
) -> None:
    path.parent.mkdir()
    beside, victim = path.with_name(path.name + suffix), tmp_path / "victim"
    if kind == "link":
        victim.write_text("precious")
    if kind == "fifo":
        os.mkfifo(beside)
    elif kind == "folder":
        beside.mkdir()
    else:
        beside.symlink_to(victim)
    with pytest.raises(OSError, match="not a regular file") as raised:
        open_store()
    assert raised.value.filename == str(beside)
    assert [one.name for one in path.parent.iterdir()] == [beside.name]
    assert kind != "link" or victim.read_text() == "precious"
    assert kind != "dangling" or not victim.exists()


def test_lock_that_is_another_name_of_a_file_is_refused(open_store: Open, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name(path.name + "-lock").hardlink_to(victim)
    with pytest.raises(OSError, match="not a regular file with one name"):
        open_store()
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link"])
def test_data_file_that_is_not_a_regular_file(open_store: Open, path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "dangling link":  # a file that is still to be made
        path.symlink_to(path.with_name("real.db"))
        assert open_store().location == str(path.with_name("real.db"))
        return
    (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    with pytest.raises(OSError, match="not a regular file"):
        open_store()


def test_refused_open_closes_all_files(
    open_store: Open, path: Path, held: Callable[[Path], list[str]]
) -> None:
    store = open_store()
    for _ in range(2):
        with pytest.raises(StoreLocked):
            open_store()
    store.close()
    assert held(path.parent) == []
