"""The log on disk: what survives what, and what an unwilling disk costs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chat_server.core.ports import StoreUnavailable
from chat_server.core.records import SessionRecord
from chat_server.store import mark
from chat_server.store.sqlite import SqliteStore, StoreLocked

if TYPE_CHECKING:
    from chat_server.store.conftest import Pen

Open = Callable[..., SqliteStore]
Texts = Callable[..., list[str]]
Run = Callable[..., subprocess.Popen[str]]

OPEN = "store = SqliteStore(Path(sys.argv[1]), full_sync=False, offload=inline, read_offload=inline)\n"
WRITE = f"""
{OPEN}
pen = Pen(store)
for number in range(1, int(sys.argv[2]) + 1):
    pen.write((pen.room("a"), str(number)), (pen.room("b"), str(number)))
    print(number, flush=True)
    if number % 40 == 0:
        store.maintain()
sys.stdin.read()
"""


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a program, and leave no pipe open."""
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


def write_and_die(run_program: Run, path: Path, count: int, of: int = 100_000) -> list[int]:
    """Let a real process write `of` batches and be killed after `count`; return what it said was stored."""
    with running(run_program(WRITE, path, of, stdin=subprocess.PIPE)) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL, lines
    return [int(line) for line in lines if line.endswith("\n")]


# What survives


def test_a_restart_keeps_history_rooms_and_epoch(
    open_store: Open, make_pen: type[Pen], read_texts: Texts
) -> None:
    store = open_store()
    assert not store.epoch_changed
    epoch = store.epoch
    pen = make_pen(store)
    pen.say("Garden", "one", "two")
    pen.say("lobby", "hi")
    pen.write((pen.conversation("@ann,bob", (1, 2)), "psst"))
    store.close()

    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)
    rooms = {record.key: record for record in store.public_rooms()}
    assert {key: (record.name, record.seq) for key, record in rooms.items()} == {
        "garden": ("Garden", 2),
        "lobby": ("lobby", 1),
    }
    assert read_texts(store, rooms["garden"]) == ["one", "two"]
    pen = make_pen(store)
    assert pen.author.identity == 2  # the next after those that are stored
    (draft,) = pen.say("garden", "three")
    assert (draft.seq, draft.id) == (3, 5)
    room = pen.conversation("@ann,bob", (3, 4))
    pen.write((room, "psst"))
    assert room.record.name == "@ann,bob#2"


def test_nothing_is_left_beside_the_file_but_what_belongs_there(
    open_store: Open, make_pen: type[Pen], path: Path
) -> None:
    store = open_store()
    make_pen(store).say("a", "one")
    store.close()
    assert {one.name.removeprefix(path.name) for one in path.parent.iterdir()} == {
        "",
        "-index",
        "-lock",
        "-mark",
    }
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_of_a_sessions_secret_only_the_hash_is_stored(
    open_store: Open, make_pen: type[Pen], path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    record = SessionRecord("public-id", pen.author.identity, "ann", hashlib.sha256(b"s3cret").digest())
    store.append(pen.batch(sessions=(record,)))
    store.close()
    with closing(sqlite3.connect(path)) as other:
        row = other.execute("SELECT id, identity, name, secret_hash, ended FROM sessions").fetchone()
        identities = other.execute("SELECT id, kind, name FROM identities").fetchall()
    assert row == ("public-id", 1, "ann", hashlib.sha256(b"s3cret").digest(), None)
    assert identities == [(1, "guest", "ann")]


def test_what_was_stored_survives_the_death_of_the_process(
    open_store: Open, run_program: Run, read_texts: Texts, path: Path
) -> None:
    """Also in the midst of a batch, which is there as a whole or not at all; and twice in a row."""
    open_store().close()
    with closing(sqlite3.connect(path)) as other:
        (epoch,) = other.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    said = write_and_die(run_program, path, 150)
    said_again = write_and_die(run_program, path, 30)
    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)
    rooms = {record.name: record for record in store.public_rooms()}
    kept = read_texts(store, rooms["a"])
    assert kept == read_texts(store, rooms["b"])
    assert rooms["a"].seq == rooms["b"].seq == len(kept)
    numbers = [int(text) for text in kept]
    second = numbers.index(1, 1)  # where the second process began
    first_run, second_run = numbers[:second], numbers[second:]
    assert first_run == list(range(1, len(first_run) + 1))
    assert second_run == list(range(1, len(second_run) + 1))
    assert 0 <= len(first_run) - len(said) <= 1  # it may have died before it could say so
    assert 0 <= len(second_run) - len(said_again) <= 1


def test_a_log_that_has_lost_its_end_has_another_epoch(
    open_store: Open, run_program: Run, make_pen: type[Pen], read_texts: Texts, path: Path
) -> None:
    """As after a loss of power: seqs are given out anew, and clients are to know."""
    open_store().close()
    write_and_die(run_program, path, 35, of=35)  # no checkpoint yet
    wal = path.with_name(path.name + "-wal")
    os.truncate(wal, wal.stat().st_size - 4000)
    store = open_store()
    assert store.epoch_changed
    epoch = store.epoch
    rooms = {record.name: record for record in store.public_rooms()}
    kept = read_texts(store, rooms["a"])
    assert kept == [str(number) for number in range(1, len(kept) + 1)]
    assert 0 < len(kept) < 35
    assert len(kept) == rooms["a"].seq
    (draft,) = make_pen(store).say("a", "anew")
    assert draft.seq == len(kept) + 1
    assert read_texts(store, rooms["a"]) == [*kept, "anew"]
    store.close()
    store = open_store()
    assert (store.epoch, store.epoch_changed) == (epoch, False)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_backup_in_the_logs_place_has_another_epoch(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path, *, in_place: bool
) -> None:
    store = open_store()
    make_pen(store).say("a", "one")
    store.close()
    backup = path.with_name("backup")
    shutil.copyfile(path, backup)
    store = open_store()
    epoch = store.epoch
    make_pen(store).say("a", "two", "three")
    store.close()
    if in_place:
        shutil.copyfile(backup, path)
    else:
        backup.replace(path)
    store = open_store()
    assert store.epoch != epoch
    assert store.epoch_changed
    (record,) = store.public_rooms()
    assert record.seq == 1
    make_pen(store).say("a", "2")
    assert read_texts(store, record) == ["one", "2"]


def test_a_stop_is_clean_only_if_all_is_in_the_file(
    open_store: Open, make_pen: type[Pen], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program that reads keeps the write-ahead log: with the power, that might go."""
    store = open_store()
    epoch = store.epoch
    make_pen(store).say("a", "one")
    store.close()
    monkeypatch.setattr(mark, "boot_id", lambda: "second start")
    store = open_store()
    assert store.epoch == epoch
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        make_pen(store).say("a", "two")
        store.close()
    monkeypatch.setattr(mark, "boot_id", lambda: "third start")
    assert open_store().epoch != epoch


def test_what_was_not_synced_is_not_trusted_because_it_will_be(
    open_store: Open, run_program: Run, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    open_store().close()
    write_and_die(run_program, path, 5)
    monkeypatch.setattr(mark, "boot_id", lambda: "the power was gone")
    assert open_store(full=True).epoch_changed


# One server a file


def test_a_second_server_is_refused_and_told_by_whom(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(StoreLocked, match=f"process id {os.getpid()}$"):
        open_store()
    store.close()
    open_store()


def test_a_second_process_is_refused_until_the_first_is_dead(
    open_store: Open, run_program: Run, path: Path
) -> None:
    with running(run_program(WRITE, path, 1, stdin=subprocess.PIPE)) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        with pytest.raises(StoreLocked, match=f"process id {process.pid}$"):
            open_store()
        process.kill()
        process.wait()
    assert [record.seq for record in open_store().public_rooms()] == [1, 1]


# All or nothing


def test_a_batch_that_fails_leaves_nothing_and_can_be_stored_later(
    open_store: Open, make_pen: type[Pen], read_texts: Texts
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("old", "one")
    pen.write((pen.conversation("@ann,bob", (1, 2)), "psst"))
    before = store._connection.total_changes
    store._connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.log WHEN new.text = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    old, new, talk = pen.room("old"), pen.room("new"), pen.conversation("@ann,bob", (3, 4))
    batch = pen.batch((old, "two"), (new, "first"), (talk, "hello"), (old, "bad"), (new, "second"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="refused"):
            store.append(batch)
        assert [(draft.seq, draft.id) for draft in batch.messages] == [(0, 0)] * 5
        assert (old.record.seq, new.record.seq, talk.record.seq) == (1, 0, 0)
        assert [(record.id, record.queued) for record in (new.record, talk.record)] == [(0, True)] * 2
        assert (talk.record.name, talk.record.key) == ("@ann,bob", "@ann,bob")
        assert read_texts(store, old) == ["one"]
        assert [record.name for record in store.public_rooms()] == ["old"]
    store._connection.execute("DROP TRIGGER refuse")
    store.append(batch)
    assert [draft.seq for draft in batch.messages] == [2, 1, 1, 3, 2]
    assert [draft.id for draft in batch.messages] == [3, 4, 5, 6, 7]
    assert talk.record.name == "@ann,bob#2"
    assert read_texts(store, old) == ["one", "two", "bad"]
    assert read_texts(store, new) == ["first", "second"]
    assert store._connection.total_changes > before


def test_a_message_that_fails_alone_leaves_nothing(
    open_store: Open, make_pen: type[Pen], read_texts: Texts
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one")
    with pytest.raises(UnicodeEncodeError):  # not the store's fault, and not to be tried for ever
        pen.say("a", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        pen.write((pen.room("a"), "two"), (pen.room("b"), "\ud800"))
    (draft,) = pen.say("a", "two")
    assert draft.seq == 2
    assert read_texts(store, pen.room("a")) == ["one", "two"]


def test_a_log_locked_by_another_program_is_not_waited_for(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, run_program: Run, path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one")
    hold = """
import sqlite3
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
other.execute("ROLLBACK")
other.close()
print("free", flush=True)
"""
    with running(run_program(hold, path, stdin=subprocess.PIPE)) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="locked"):
                pen.say("a", "two")
            with pytest.raises(StoreUnavailable, match="locked"):
                pen.write((pen.room("a"), "two"), (pen.room("b"), "first"))
            assert read_texts(store, pen.room("a")) == ["one"]
        assert time.monotonic() - began < 2.5  # sqlite3's own patience would be five seconds for each
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"
    (draft,) = pen.say("a", "two")
    assert draft.seq == 2


def test_a_full_disk_refuses_and_then_goes_on(
    open_store: Open, read_texts: Texts, run_program: Run, path: Path
) -> None:
    fill = f"""
import json, resource
{OPEN}
pen = Pen(store)
pen.say("a", "first")
size = Path(sys.argv[1] + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60_000, resource.RLIM_INFINITY))
stored, refused = ["first"], 0
for number in range(400):
    try:
        pen.say("a", f"{{number}} " + "x" * 500)
        stored.append(str(number))
    except StoreUnavailable:
        refused += 1
try:
    store.read(pen.room("a").record, 0, 10**6, 10**6, newest=False)
except StoreUnavailable:
    refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(400, 410):
    pen.say("a", f"{{number}} again")
    stored.append(str(number))
seqs = [event.seq for event in store.read(pen.room("a").record, 0, 10**6, 10**6, newest=False)]
store.close()
print(json.dumps([stored, refused, seqs]))
"""
    with running(run_program(fill, path)) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    stored, refused, seqs = json.loads(output)
    assert refused > 100
    assert len(stored) > 20
    assert seqs == list(range(1, len(stored) + 1))
    store = open_store()
    assert not store.epoch_changed
    (record,) = store.public_rooms()
    assert [text.split()[0] for text in read_texts(store, record)] == stored


# Where it cannot begin


def test_a_folder_that_cannot_be_written_is_an_error_of_the_system(run_program: Run) -> None:
    folder = Path(tempfile.mkdtemp(prefix="greenroom-"))  # not in tmp_path, which others may not enter
    try:
        folder.chmod(0o555)
        attempt = f"""
import os
if os.geteuid() == 0:
    os.setuid(65534)  # to root, every folder can be written
try:
    {OPEN}
except OSError as error:
    print(type(error).__name__, error.filename)
"""
        with running(run_program(attempt, folder / "db")) as process:
            output, _ = process.communicate(timeout=60)
        assert output == f"PermissionError {folder / 'db-lock'}\n"
        assert not list(folder.iterdir())
    finally:
        folder.rmdir()


def test_a_file_where_the_folder_should_be_is_an_error_of_the_system(
    open_store: Open, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)):
        open_store(tmp_path / "file" / "db")


def test_a_file_that_is_no_database_is_refused_and_let_go_of(open_store: Open, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is somebody's diary, and not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_store()
    assert path.read_bytes().startswith(b"this is somebody's diary")
    path.unlink()
    open_store()


# Upkeep


def test_a_checkpoint_takes_the_write_ahead_log_into_the_file(
    open_store: Open, make_pen: type[Pen], read_texts: Texts, path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", *(f"{number} " + "x" * 1000 for number in range(100)))
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size
    assert store.maintain() == size > 100_000
    pen.say("a", "from the beginning of the same file")
    assert wal.stat().st_size == size
    assert store.maintain(truncate=True) == 0
    assert len(read_texts(store, pen.room("a"))) == 101


def test_maintenance_that_cannot_be_done_now_is_unavailable(
    open_store: Open, make_pen: type[Pen], path: Path
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one")
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.maintain()
        with pytest.raises(StoreUnavailable, match="locked"):
            store.read(pen.room("a").record, 0, 9, 9, newest=True)
        pen.say("a", "two")  # the log itself goes on
    store.maintain()
    assert len(store.read(pen.room("a").record, 0, 9, 9, newest=True)) == 2


@pytest.mark.parametrize("full", [False, True])
def test_appends_leave_the_hub_only_if_they_wait_for_the_disk(
    path: Path, make_pen: type[Pen], *, full: bool
) -> None:
    offloaded: list[Any] = []

    def offload(function: Callable[..., Any], *args: Any) -> Any:
        offloaded.append(function)
        return function(*args)

    store = SqliteStore(path, full_sync=full, offload=offload, read_offload=lambda f, *args: f(*args))
    with closing(store):
        make_pen(store).say("a", "one")
    assert len(offloaded) == full
