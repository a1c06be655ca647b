"""Files that another program changes under the server: nothing more is stored, nothing kills it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, RegistryChanges
from chat_server.engines.sqlite import upkeep
from chat_server.engines.sqlite.data_file_lock import SIDE_FILES
from chat_server.engines.sqlite.files import LOOK_INTERVAL_S
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.kinds import SetClock
from support.engines.pen import Pen, say_around_upkeep, texts
from support.engines.program import run_program

Open = Callable[..., SqliteEngine]
Change = Callable[[Path], None]


def remove(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    shutil.copyfile(file, file.with_name("copy"))
    file.with_name("copy").replace(file)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def look_is_due(store: SqliteEngine) -> None:
    """Let the next batch look at the files, as it does 50 ms after the last look."""
    store._gate.look_due_at = 0.0


def close_anyhow(store: SqliteEngine) -> None:
    with suppress(sqlite3.Error):
        store.close()


def refused(store: SqliteEngine, pen: Pen) -> str:
    """Return why a message, and a new room, are refused."""
    reasons = set()
    for write in (
        lambda: pen.append((pen.room("a"), "into the void")),
        lambda: store.write(RegistryChanges(rooms=[NewRoom("b", "b")])),
        store.maintain,
        lambda: store.trim(keep=1, before=0.0),
    ):
        with pytest.raises(StoreUnavailable) as raised:
            write()
        reasons.add(str(raised.value))
    (reason,) = reasons
    return reason


@pytest.fixture
def store(open_store: Open) -> SqliteEngine:
    store = open_store()
    say_around_upkeep(store)
    return store


@pytest.fixture
def pen(store: SqliteEngine) -> Pen:
    pen = Pen(store)
    pen.register(pen.room("a"))
    return pen


@pytest.mark.parametrize("suffix", ["", *SIDE_FILES])
@pytest.mark.parametrize("change", [remove, replace])
def test_file_that_is_removed_or_replaced_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, path: Path, suffix: str, change: Change
) -> None:
    look_is_due(store)
    file = path.with_name(path.name + suffix)
    change(file)
    reason = refused(store, pen)
    assert str(file) in reason
    assert "removed or replaced" in reason
    assert "restart the server" in reason
    close_anyhow(store)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-index", "-index-shm", "-mark", "-lock"])
@pytest.mark.parametrize("change", [empty, cut])
def test_file_that_is_cut_off_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, path: Path, suffix: str, change: Change
) -> None:
    file = path.with_name(path.name + suffix)
    store._gate.check()
    look_is_due(store)
    change(file)
    assert f"{file} was cut off" in refused(store, pen)
    close_anyhow(store)


def test_what_was_removed_and_comes_back_is_used_again(store: SqliteEngine, pen: Pen, path: Path) -> None:
    look_is_due(store)
    path.rename(path.with_name("away"))
    assert "removed" in refused(store, pen)
    path.with_name("away").rename(path)
    pen.append((pen.room("a"), "again"))
    assert texts(store, pen.room("a"))[-1] == "again"


@pytest.mark.parametrize("size", [0, 32, 5000])
def test_write_ahead_log_that_was_cut_off_and_has_grown_since_is_noticed(
    open_store: Open, path: Path, size: int
) -> None:
    """Given batches that are written between the cut and the look, so that it is not shorter than before."""
    store = open_store()
    pen = Pen(store)
    pen.say("a", *map(str, range(50)))
    store._gate.check()
    wal = path.with_name(path.name + "-wal")
    before = wal.stat().st_size
    os.truncate(wal, size)
    pen.append((pen.room("a"), "into a hole"))
    assert wal.stat().st_size > before
    look_is_due(store)
    assert f"{wal} was cut off" in refused(store, pen)
    close_anyhow(store)


def test_data_file_that_is_overwritten_in_place_is_noticed(
    store: SqliteEngine, pen: Pen, path: Path, tmp_path: Path
) -> None:
    backup = shutil.copyfile(path, tmp_path / "backup")
    pen.say("a", *map(str, range(100, 200)))
    store.maintain()
    look_is_due(store)
    shutil.copyfile(backup, path)
    os.truncate(path, path.stat().st_size + 10**6)  # not even shorter
    assert f"{path} was changed by another program" in refused(store, pen)


def test_own_checkpoints_and_growth_are_no_change(open_store: Open) -> None:
    """Also when SQLite begins the write-ahead log again from its start, over frames that are there."""
    store = open_store()
    pen = Pen(store)
    for number in range(60):
        pen.say("a", *(f"{number} {word} " + "x" * 300 for word in range(number % 7)), "y")
        look_is_due(store)
        if number % 3 == 0:
            store.maintain(truncate=number % 4 == 0)
        if number % 10 == 9:
            assert store.trim(keep=5, before=0.0)
    store.write(RegistryChanges(rooms=[NewRoom("b", "b")]))
    assert store._gate.is_open()


def test_another_program_that_reads_is_no_change(store: SqliteEngine, pen: Pen, path: Path) -> None:
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM log').fetchall()"
    backup = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])"
    for program in (look, backup):
        subprocess.run([sys.executable, "-c", program, str(path), str(path.with_name("b"))], check=True)
        look_is_due(store)
        pen.append((pen.room("a"), "on"))
    assert store.maintain() > 0


def test_looks_are_made_between_batches_that_are_apart_only(
    store: SqliteEngine, pen: Pen, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the clock was set back."""
    looks: list[int] = []
    real = store._gate.watch.look

    def look() -> str:
        looks.append(1)
        return real()

    monkeypatch.setattr(store._gate.watch, "look", look)
    look_is_due(store)
    for _ in range(100):
        pen.append((pen.room("a"), "x"))
    assert len(looks) == 1
    for later in (*[LOOK_INTERVAL_S + 0.01] * 5, -3600.0, LOOK_INTERVAL_S / 2):
        clock.now += later
        pen.append((pen.room("a"), "x"))
    assert len(looks) == 7


def test_shared_memory_that_was_cut_off_kills_nobody(path: Path) -> None:
    """An access to a missing page of a mapping is a SIGBUS: the file is filled up, and SQLite recovers."""
    program = """
import os
store = open_sqlite(Path(sys.argv[1]))
pen = Pen(store)
pen.say("a", *map(str, range(100)))
for suffix in sys.argv[2:]:
    os.truncate(sys.argv[1] + suffix, 0)
store._gate.look_due_at = 0.0
for attempt in (lambda: pen.say("a", "x"), store.maintain):
    try:
        attempt()
    except StoreUnavailable as error:
        print("refused", "cut off" in str(error))
print(len(events(store, pen.room("a"))))
store.close()
"""
    for suffixes in (["-mark"], ["-shm"], ["-index-shm"]):
        for file in path.parent.glob("*"):
            file.unlink()
        with run_program(program, path, *suffixes) as process:
            output, _ = process.communicate(timeout=60)
        assert (process.returncode, output.split("\n")[:2]) == (0, ["refused True"] * 2), (suffixes, output)


# Damage that a write meets


def test_damage_found_by_a_write_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write_batch", fail)
        with pytest.raises(StoreUnavailable, match="is damaged"):
            pen.append((pen.room("a"), "x"))
    assert "is damaged (database disk image is malformed)" in refused(store, pen)
    assert len(texts(store, pen.room("a"))) == 100  # but read


def test_damage_of_the_schema_found_by_a_write_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, path: Path
) -> None:
    """Given another program that changes the schema to what is not UTF-8, so that SQLite cannot quote it."""
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("PRAGMA writable_schema = ON")
        other.execute(
            "UPDATE sqlite_master SET sql = CAST(x'435245415445205441424c45206c6f67208e' AS TEXT) "
            "WHERE name = 'log'"
        )
        other.execute("PRAGMA schema_version = 999")
    with pytest.raises(StoreUnavailable, match="is damaged"):
        pen.append((pen.room("a"), "x"))
    assert "is damaged" in refused(store, pen)
    close_anyhow(store)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])
def test_damage_found_by_a_checkpoint_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(_how: str) -> None:
        error = sqlite3.DatabaseError("damaged")
        error.sqlite_errorcode = code
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(store._upkeep, "_checkpoint_log", fail)
        with pytest.raises(StoreUnavailable, match="is damaged"):
            store.maintain()
    assert "is damaged" in refused(store, pen)


def test_mark_that_cannot_be_written_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_row: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(store._tail_guard, "advance", fail)
        pen.append((pen.room("a"), "stored"))
    assert "-mark: Input/output error" in refused(store, pen)
    assert texts(store, pen.room("a"))[-1] == "stored"


# The write-ahead log


def test_write_ahead_log_that_is_too_long_stops_writes_until_it_is_emptied(
    store: SqliteEngine, pen: Pen, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given another program that has a read transaction open, so that a checkpoint cannot empty it."""
    monkeypatch.setattr(upkeep, "MAX_WAL_BYTES", 200_000)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        refusal = ""
        for number in range(1000):
            look_is_due(store)
            try:
                pen.append((pen.room("a"), f"{number} " + "x" * 900))
            except StoreUnavailable as error:
                refusal = str(error)
                break
        assert "another program reads the data file" in refusal
        assert path.with_name(path.name + "-wal").stat().st_size < 250_000
        assert store.maintain(truncate=True) > 200_000
    assert store.maintain(truncate=True) == 0
    pen.append((pen.room("a"), "again"))


def test_write_ahead_log_is_synced_also_while_another_program_reads(
    store: SqliteEngine, pen: Pen, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that has nothing to do does not sync: a power loss would cost more than a second."""
    synced: list[str] = []
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        store.maintain()
        pen.append((pen.room("a"), "x"))
        synced.clear()
        store.maintain()
    assert synced == [f"{path}-wal"]
