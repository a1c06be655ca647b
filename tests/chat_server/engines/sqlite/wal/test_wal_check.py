"""What of a write-ahead log is noticed: each cut that costs something, nothing that SQLite does itself."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite.connect import PAGE_BYTES, connect
from chat_server.engines.sqlite.wal.check import FRAME_HEADER_BYTES, HEADER_BYTES, WalCheck

FRAME = FRAME_HEADER_BYTES + PAGE_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path, full_sync=False)) as connection:
        connection.execute("CREATE TABLE said (id INTEGER PRIMARY KEY, text)")
        yield connection


@pytest.fixture
def check(path: Path) -> Iterator[WalCheck]:
    with closing(WalCheck(path)) as check:
        yield check


@pytest.fixture
def wal(path: Path) -> Path:
    return path.with_name("some.db-wal")


def say(connection: sqlite3.Connection, count: int, ending: bytes = b".") -> None:
    for number in range(count):
        connection.execute("INSERT INTO said (text) VALUES (?)", (b"x" * (37 * number % 400) + ending,))


def verdicts(check: WalCheck) -> set[bool | None]:
    return {check.is_whole(), check.is_ready_for_checkpoint()}


@pytest.mark.parametrize("ending", [b".", b"\0" * 5, b"\0" * 2000], ids=["text", "zeros", "pages of zeros"])
def test_what_sqlite_does_is_right(
    connection: sqlite3.Connection, check: WalCheck, path: Path, ending: bytes
) -> None:
    """Commits, rollbacks, pages that are freed and zeroed, checkpoints, beginning again from the start."""
    for number in range(40):
        say(connection, number % 9, ending)
        assert verdicts(check) == {True}
        if number % 4 == 0:
            connection.execute("BEGIN")
            say(connection, 30, ending)
            connection.execute("ROLLBACK")
        if number % 5 == 0:
            connection.execute("DELETE FROM said WHERE id % 3 = 0")
        if number % 7 == 3:
            connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if number % 2 else 'PASSIVE'})")
            if number % 3 == 0:
                assert verdicts(check) == {True}
        if number % 11 == 5:
            with closing(sqlite3.connect(path)) as other:
                other.execute("SELECT count(*) FROM said").fetchone()
                say(connection, 3, ending)
                assert verdicts(check) == {True}


def test_nothing_written_yet_is_right(path: Path, check: WalCheck) -> None:
    assert verdicts(check) == {True}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    assert verdicts(check) == {True}


@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("written_since", [0, 1, 5])
@pytest.mark.parametrize("seed", range(12))
def test_each_cut_that_loses_bytes_is_noticed(
    connection: sqlite3.Connection, check: WalCheck, wal: Path, looked: bool, written_since: int, seed: int
) -> None:
    """Whatever is written behind the hole, and whether the last look was before what was lost."""
    rng = random.Random(seed)
    say(connection, 20)
    if looked:
        assert verdicts(check) == {True}
    say(connection, 10)
    size = wal.stat().st_size
    at = rng.choice(
        [
            rng.randrange(size),
            size - rng.randrange(1, 30),
            HEADER_BYTES + rng.randrange(size // FRAME) * FRAME + rng.choice([0, 1, 8, 12, 16, 24, 25]),
            rng.randrange(2 * FRAME),
        ]
    )
    lost = wal.read_bytes()[at:]
    os.truncate(wal, at)
    say(connection, written_since)
    assert (verdicts(check) == {True}) == (written_since > 0 and not any(lost))
    say(connection, 3)
    assert (verdicts(check) == {True}) == (not any(lost))


@pytest.mark.parametrize("frame", [0, 1, 17, 30, -1])
@pytest.mark.parametrize("content", [0, 1], ids=["zeros", "noise"])
def test_frames_that_were_overwritten_are_not_copied(
    connection: sqlite3.Connection, check: WalCheck, wal: Path, frame: int, content: int
) -> None:
    say(connection, 40)
    assert verdicts(check) == {True}
    frames = (wal.stat().st_size - HEADER_BYTES) // FRAME
    with wal.open("r+b") as file:
        file.seek(HEADER_BYTES + frame % frames * FRAME + (100 if content == 0 and frame >= 0 else 0))
        file.write(random.Random(1).randbytes(FRAME) if content else bytes(FRAME))
    assert check.is_ready_for_checkpoint() is False


def test_header_that_was_overwritten_is_noticed(
    connection: sqlite3.Connection, check: WalCheck, wal: Path
) -> None:
    say(connection, 5)
    assert verdicts(check) == {True}
    with wal.open("r+b") as file:
        file.write(bytes(HEADER_BYTES))
    assert verdicts(check) == {False}


def test_what_is_in_the_data_file_is_not_needed_for_a_checkpoint(
    connection: sqlite3.Connection, check: WalCheck, wal: Path
) -> None:
    say(connection, 50)
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert verdicts(check) == {True}
    os.truncate(wal, wal.stat().st_size // 2)
    assert check.is_ready_for_checkpoint() is True
    assert check.is_whole() is False


def test_another_thread_that_is_committing_is_waited_for(
    connection: sqlite3.Connection, check: WalCheck, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two copies of the header in the shared memory: its second copy is another one here."""
    say(connection, 5)
    shm = path.with_name("some.db-shm")
    # Not by a descriptor that is closed: the locks of the process would be dropped with it.
    descriptor = os.open(shm, os.O_RDWR)
    whole = os.pread(descriptor, 48, 48)
    os.pwrite(descriptor, bytes(48), 48)
    assert check.is_whole()  # it cannot know
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.pwrite(descriptor, whole, 48)

    monkeypatch.setattr("chat_server.engines.sqlite.wal.check.time.sleep", wait)
    assert check.is_ready_for_checkpoint() is True
    assert len(waits) == 3
    connection.close()
    os.close(descriptor)
