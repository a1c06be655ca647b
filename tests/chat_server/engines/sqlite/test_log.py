"""The SQLite log: atomic batches, full disks, locks, checkpoints."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chat_server.core.ports.store import StoreUnavailable
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen

Open = Callable[..., SqliteStore]
Texts = Callable[..., list[str]]
Run = Callable[..., AbstractContextManager[subprocess.Popen[str]]]


# Atomic batches


def test_failed_batch_is_rolled_back_and_can_be_retried(
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
    old, new, conversation = pen.room("old"), pen.room("new"), pen.conversation("@ann,bob", (3, 4))
    batch = pen.batch((old, "two"), (new, "first"), (conversation, "hello"), (old, "bad"), (new, "second"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="refused"):
            store.append(batch)
        assert [(message.seq, message.id) for message in batch.messages] == [(0, 0)] * 5
        assert (old.record.seq, new.record.seq, conversation.record.seq) == (1, 0, 0)
        assert [(record.id, record.queued) for record in (new.record, conversation.record)] == [(0, True)] * 2
        assert (conversation.record.name, conversation.record.key) == ("@ann,bob", "@ann,bob")
        assert read_texts(store, old) == ["one"]
        assert [record.name for record in store.public_rooms()] == ["old"]
    store._connection.execute("DROP TRIGGER refuse")
    store.append(batch)
    assert [message.seq for message in batch.messages] == [2, 1, 1, 3, 2]
    assert [message.id for message in batch.messages] == [3, 4, 5, 6, 7]
    assert conversation.record.name == "@ann,bob#2"
    assert read_texts(store, old) == ["one", "two", "bad"]
    assert read_texts(store, new) == ["first", "second"]
    assert store._connection.total_changes > before


def test_failed_single_message_is_rolled_back(
    open_store: Open, make_pen: type[Pen], read_texts: Texts
) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one")
    with pytest.raises(UnicodeEncodeError):  # an error of the caller, not to be retried
        pen.say("a", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        pen.write((pen.room("a"), "two"), (pen.room("b"), "\ud800"))
    (message,) = pen.say("a", "two")
    assert message.seq == 2
    assert read_texts(store, pen.room("a")) == ["one", "two"]


def test_append_to_locked_log_fails_without_waiting(
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
    with run_program(hold, path, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="locked"):
                pen.say("a", "two")
            with pytest.raises(StoreUnavailable, match="locked"):
                pen.write((pen.room("a"), "two"), (pen.room("b"), "first"))
            with pytest.raises(StoreUnavailable, match="locked"):
                store.append(pen.batch())
            assert read_texts(store, pen.room("a")) == ["one"]
        assert time.monotonic() - began < 2.5  # sqlite3's default timeout is 5 s each
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"
    (message,) = pen.say("a", "two")
    assert message.seq == 2


def test_empty_batch_changes_nothing(open_store: Open, make_pen: type[Pen], read_texts: Texts) -> None:
    store = open_store()
    pen = make_pen(store)
    pen.say("a", "one")
    before = list(store._connection.iterdump())
    store.append(pen.batch())
    assert list(store._connection.iterdump()) == before
    (message,) = pen.say("a", "two")
    assert (message.seq, message.id) == (2, 2)
    assert read_texts(store, pen.room("a")) == ["one", "two"]


def test_empty_batch_on_full_disk_raises_unavailable(run_program: Run, path: Path) -> None:
    fill = """
import resource
store = open_at(sys.argv[1])
pen = Pen(store)
pen.say("a", "first")
size = Path(sys.argv[1] + "-wal").stat().st_size
for limit in (size, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.append(pen.batch())
        print("stored")
    except StoreUnavailable:
        print("refused")
store.close()
"""
    with run_program(fill, path) as process:
        output, _ = process.communicate(timeout=60)
    assert output.split() == ["refused", "stored"]


def test_append_on_full_disk_fails_and_later_succeeds(
    open_store: Open, read_texts: Texts, run_program: Run, path: Path
) -> None:
    fill = """
import json, resource
store = open_at(sys.argv[1])
pen = Pen(store)
pen.say("a", "first")
size = Path(sys.argv[1] + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60_000, resource.RLIM_INFINITY))
stored, refused = ["first"], 0
for number in range(400):
    try:
        pen.say("a", f"{number} " + "x" * 500)
        stored.append(str(number))
    except StoreUnavailable:
        refused += 1
try:
    store.read(pen.room("a").record, 0, 10**6, 10**6, newest=False)
except StoreUnavailable:
    refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(400, 410):
    pen.say("a", f"{number} again")
    stored.append(str(number))
seqs = [event.seq for event in store.read(pen.room("a").record, 0, 10**6, 10**6, newest=False)]
store.close()
print(json.dumps([stored, refused, seqs]))
"""
    with run_program(fill, path) as process:
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


# Failures to open


def test_open_in_read_only_folder_raises_os_error(run_program: Run) -> None:
    folder = Path(tempfile.mkdtemp(prefix="greenroom-"))  # not in tmp_path, which other users cannot enter
    try:
        folder.chmod(0o555)
        attempt = """
import os
if os.geteuid() == 0:
    os.setuid(65534)  # root can write to every folder
try:
    store = open_at(sys.argv[1])
except OSError as error:
    print(type(error).__name__, error.filename)
"""
        with run_program(attempt, folder / "db") as process:
            output, _ = process.communicate(timeout=60)
        assert output == f"PermissionError {folder / 'db-lock'}\n"
        assert not list(folder.iterdir())
    finally:
        folder.rmdir()


def test_open_below_a_file_raises_os_error(open_store: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((NotADirectoryError, FileExistsError)):
        open_store(tmp_path / "file" / "db")


def test_open_of_foreign_file_fails_and_releases_it(open_store: Open, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is somebody's diary, and not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_store()
    assert path.read_bytes().startswith(b"this is somebody's diary")
    path.unlink()
    open_store()


# Maintenance


def test_maintain_checkpoints_the_wal(
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


def test_maintain_with_locked_index_raises_unavailable(
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
        pen.say("a", "two")  # the log itself still works
    store.maintain()
    assert len(store.read(pen.room("a").record, 0, 9, 9, newest=True)) == 2


@pytest.mark.parametrize("full", [False, True])
def test_writes_are_offloaded_only_with_full_sync(path: Path, make_pen: type[Pen], *, full: bool) -> None:
    offloaded: list[Any] = []

    def offload(function: Callable[..., Any], *args: Any) -> Any:
        offloaded.append(function)
        return function(*args)

    store = SqliteStore(path, full_sync=full, offload=offload, read_offload=lambda f, *args: f(*args))
    with closing(store):
        make_pen(store).say("a", "one", "two")
        assert store.trim(keep=1, before=0.0) == {1: 1}
    assert len(offloaded) == 3 * full
