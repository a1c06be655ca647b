"""The log after a restart, a kill and a power loss; and its lock against a second server."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.registry import RegistryChanges, SessionRecord
from chat_server.engines.sqlite import tail_guard
from chat_server.engines.sqlite.data_file_lock import StoreLocked
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, texts
from support.engines.program import run_program

Open = Callable[..., SqliteEngine]

WRITE = """
store = open_sqlite(Path(sys.argv[1]), time.time)
pen = Pen(store)
for number in range(1, int(sys.argv[2]) + 1):
    pen.write((pen.room("a"), str(number)), (pen.room("b"), str(number)))
    print(number, flush=True)
    if number % 40 == 0:
        store.maintain()
sys.stdin.read()
"""


def write_and_die(path: Path, count: int, of: int = 100_000) -> list[int]:
    """Let a process write `of` batches and be killed after `count`; return what it reported as stored."""
    with run_program(WRITE, path, of, stdin=subprocess.PIPE) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL, lines
    return [int(line) for line in lines if line.endswith("\n")]


# Restart, kill, power loss


def test_restart_keeps_history_rooms_and_epoch(open_store: Open) -> None:
    store = open_store()
    assert not store.epoch_changed
    epoch = store.epoch
    pen = Pen(store)
    pen.say("Garden", "one", "two")
    pen.say("lobby", "hi")
    pen.write((pen.conversation("@ann,bob", (1, 2)), "psst"))
    store.close()

    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)
    rooms = {record.key: record for record in store.public_rooms()}
    assert {key: (record.name, record.head) for key, record in rooms.items()} == {
        "garden": ("Garden", 2),
        "lobby": ("lobby", 1),
    }
    assert texts(store, rooms["garden"]) == ["one", "two"]
    pen = Pen(store)
    assert pen.identity == 2  # the next after the stored ones
    (message,) = pen.say("garden", "three")
    assert [message.seq, message.stored_at] == [3, 5]
    room = pen.conversation("@ann,bob", (3, 4))
    pen.write((room, "psst"))
    assert room.name == "@ann,bob#2"


def test_close_leaves_only_the_files_of_the_engine(open_store: Open, path: Path) -> None:
    store = open_store()
    Pen(store).say("a", "one")
    store.close()
    assert {one.name.removeprefix(path.name) for one in path.parent.iterdir()} == {
        "",
        "-index",
        "-lock",
        "-mark",
    }
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_session_secret_is_stored_as_hash_only(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    record = SessionRecord("public-id", pen.identity, "ann", hashlib.sha256(b"s3cret").digest())
    pen.register()
    store.write(RegistryChanges(sessions=[record]))
    store.close()
    with closing(sqlite3.connect(path)) as other:
        row = other.execute("SELECT id, identity, name, secret_hash, ended FROM sessions").fetchone()
        identities = other.execute("SELECT id, kind, name FROM identities").fetchall()
    assert row == ("public-id", 1, "ann", hashlib.sha256(b"s3cret").digest(), None)
    assert identities == [(1, "guest", "ann")]


def test_stored_messages_survive_kill_of_the_process(open_store: Open, path: Path) -> None:
    """Also in the middle of a batch, which is stored whole or not at all; and twice in a row."""
    open_store().close()
    with closing(sqlite3.connect(path)) as other:
        (epoch,) = other.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    said = write_and_die(path, 150)
    said_again = write_and_die(path, 30)
    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)
    rooms = {record.name: record for record in store.public_rooms()}
    kept = texts(store, rooms["a"])
    assert kept == texts(store, rooms["b"])
    assert rooms["a"].head == rooms["b"].head == len(kept)
    numbers = [int(text) for text in kept]
    second = numbers.index(1, 1)  # where the second process began
    first_run, second_run = numbers[:second], numbers[second:]
    assert first_run == list(range(1, len(first_run) + 1))
    assert second_run == list(range(1, len(second_run) + 1))
    assert 0 <= len(first_run) - len(said) <= 1  # it may have died before its report
    assert 0 <= len(second_run) - len(said_again) <= 1


def test_log_without_its_tail_gets_new_epoch(open_store: Open, path: Path) -> None:
    """As after a power loss: seqs are issued a second time, which clients must notice."""
    open_store().close()
    write_and_die(path, 35, of=35)  # no checkpoint yet
    wal = path.with_name(path.name + "-wal")
    os.truncate(wal, wal.stat().st_size - 4000)
    store = open_store()
    assert store.epoch_changed
    epoch = store.epoch
    rooms = {record.name: record for record in store.public_rooms()}
    kept = texts(store, rooms["a"])
    assert kept == [str(number) for number in range(1, len(kept) + 1)]
    assert 0 < len(kept) < 35
    assert len(kept) == rooms["a"].head
    (message,) = Pen(store).say("a", "new")
    assert message.seq == len(kept) + 1
    assert texts(store, rooms["a"]) == [*kept, "new"]
    store.close()
    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)


@pytest.mark.parametrize("in_place", [True, False])
def test_restored_backup_gets_new_epoch(open_store: Open, path: Path, *, in_place: bool) -> None:
    store = open_store()
    Pen(store).say("a", "one")
    store.close()
    backup = path.with_name("backup")
    shutil.copyfile(path, backup)
    store = open_store()
    epoch = store.epoch
    Pen(store).say("a", "two", "three")
    store.close()
    if in_place:
        shutil.copyfile(backup, path)
    else:
        backup.replace(path)
    store = open_store()
    assert store.epoch != epoch
    assert store.epoch_changed
    (record,) = store.public_rooms()
    assert record.head == 1
    Pen(store).say("a", "2")
    assert texts(store, record) == ["one", "2"]


def test_stop_with_a_remaining_wal_is_not_clean(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another program reads, the write-ahead log remains, and could be lost with the power."""
    store = open_store()
    epoch = store.epoch
    Pen(store).say("a", "one")
    store.close()
    monkeypatch.setattr(tail_guard, "boot_id", lambda: "second start")
    store = open_store()
    assert store.epoch == epoch
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        Pen(store).say("a", "two")
        store.close()
    monkeypatch.setattr(tail_guard, "boot_id", lambda: "third start")
    assert open_store().epoch != epoch


def test_unsynced_log_is_not_trusted_after_switch_to_full_sync(
    open_store: Open, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    open_store().close()
    write_and_die(path, 5)
    monkeypatch.setattr(tail_guard, "boot_id", lambda: "the power was gone")
    assert open_store(full=True).epoch_changed


# Lock of the data file


def test_second_store_in_process_is_refused_with_pid(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(StoreLocked, match=f"process id {os.getpid()}$"):
        open_store()
    store.close()
    open_store()


def test_second_process_is_refused_until_first_has_died(open_store: Open, path: Path) -> None:
    with run_program(WRITE, path, 1, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        with pytest.raises(StoreLocked, match=f"process id {process.pid}$"):
            open_store()
        process.kill()
        process.wait()
    assert [record.head for record in open_store().public_rooms()] == [1, 1]
