"""The SQLite log: atomic batches, full disks, locks, checkpoints."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from chat_server.core.ports.log import ConversationRow, StoreUnavailable
from chat_server.engines.sqlite import log
from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.rows import author_checksum, checksum
from support.engines.kinds import inline
from support.engines.pen import Pen, events, texts
from support.engines.program import run_program

Open = Callable[..., SqliteEngine]


# Atomic batches


def test_failed_single_message_is_rolled_back(open_store: Open) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one")
    with pytest.raises(UnicodeEncodeError):  # an error of the caller, not to be retried
        pen.say("a", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        pen.write((pen.room("a"), "two"), (pen.room("b"), "\ud800"))
    (message,) = pen.say("a", "two")
    assert message.seq == 2
    assert texts(store, pen.room("a")) == ["one", "two"]


def test_append_to_locked_log_fails_without_waiting(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
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
                store.append([])
            with pytest.raises(StoreUnavailable, match="locked"):
                pen.append(states=[ConversationRow(1, 0)])
            assert texts(store, pen.room("a")) == ["one"]
        assert time.monotonic() - began < 2.5  # sqlite3's default timeout is 5 s each
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"
    (message,) = pen.say("a", "two")
    assert message.seq == 2


def test_empty_batch_changes_nothing(open_store: Open) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one")
    before = list(store._connection.iterdump())
    store.append([])
    assert list(store._connection.iterdump()) == before
    (message,) = pen.say("a", "two")
    assert [message.seq, message.stored_at] == [2, 2]
    assert texts(store, pen.room("a")) == ["one", "two"]


def test_empty_batch_on_full_disk_raises_unavailable(path: Path) -> None:
    fill = """
import resource
store = open_sqlite(Path(sys.argv[1]), time.time)
pen = Pen(store)
pen.say("a", "first")
size = Path(sys.argv[1] + "-wal").stat().st_size
for limit in (size, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.append([])
        print("stored")
    except StoreUnavailable:
        print("refused")
store.close()
"""
    with run_program(fill, path) as process:
        output, _ = process.communicate(timeout=60)
    assert output.split() == ["refused", "stored"]


def test_append_on_full_disk_fails_and_later_succeeds(open_store: Open, path: Path) -> None:
    fill = """
import json, resource
store = open_sqlite(Path(sys.argv[1]), time.time)
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
    events(store, pen.room("a"))
except StoreUnavailable:
    refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(400, 410):
    pen.say("a", f"{number} again")
    stored.append(str(number))
seqs = [event.seq for event in events(store, pen.room("a"))]
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
    assert [text.split()[0] for text in texts(store, record)] == stored


# Failures to open


def test_open_in_read_only_folder_raises_os_error() -> None:
    folder = Path(tempfile.mkdtemp(prefix="greenroom-"))  # not in tmp_path, which other users cannot enter
    try:
        folder.chmod(0o555)
        attempt = """
import os
if os.geteuid() == 0:
    os.setuid(65534)  # root can write to every folder
try:
    store = open_sqlite(Path(sys.argv[1]), time.time)
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


# Maintenance


def test_maintain_checkpoints_the_wal(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", *(f"{number} " + "x" * 1000 for number in range(100)))
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size
    assert store.maintain() == size > 100_000
    pen.say("a", "from the beginning of the same file")
    assert wal.stat().st_size == size
    assert store.maintain(truncate=True) == 0
    assert len(texts(store, pen.room("a"))) == 101


def test_maintain_with_locked_index_raises_unavailable(open_store: Open, path: Path) -> None:
    store = open_store()
    pen = Pen(store)
    pen.say("a", "one")
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.maintain()
        with pytest.raises(StoreUnavailable, match="locked"):
            events(store, pen.room("a"))
        pen.say("a", "two")  # the log itself still works
    store.maintain()
    assert len(events(store, pen.room("a"))) == 2


@pytest.mark.parametrize("full", [False, True])
def test_writes_are_offloaded_only_with_full_sync(path: Path, *, full: bool) -> None:
    offloaded: list[Any] = []

    def offload(function: Callable[..., Any], *args: Any) -> Any:
        offloaded.append(function)
        return function(*args)

    store = SqliteEngine(path, full_sync=full, offload=offload, read_offload=inline)
    with closing(store):
        Pen(store).say("a", "one", "two")
        assert store.trim(keep=1, before=0.0) == {1: 1}
    assert len(offloaded) == 4 * full  # the room, two messages, a deletion


# Checksums


def test_every_row_has_the_checksum_of_its_values(open_store: Open, path: Path) -> None:
    """Also after a rename, and for several identities in one session."""
    store = open_store()
    pen = Pen(store)
    pen.register(pen.room("a"), pen.room("b"))
    pen.append((pen.room("a"), "h\u00e9llo\n\x00\U0001f600"), (pen.room("b"), "x"), refs=["r\u00e9f", None])
    pen.append((pen.room("b"), "alone"), refs=[None])
    for identity, username in ((1, "bob"), (9, "bob"), (9, "ann")):
        (row,) = pen.rows((pen.room("b"), "x"))
        store.append([structs.replace(row, identity=identity, username=username)])
    query = "SELECT session, identity, username, origin, id, room, seq, ref, text, checksum FROM log"
    with closing(sqlite3.connect(path)) as other:
        rows = other.execute(query).fetchall()
    assert len(rows) == 6
    assert [checksum(author_checksum(*row[:4]), *row[4:9]) for row in rows] == [row[9] for row in rows]


def test_authors_that_are_remembered_are_bounded(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "AUTHORS_KEPT", 3)
    store = open_store()
    pen = Pen(store)
    for number in range(10):
        pen.session = f"s{number % 5}"
        pen.say("a", str(number))
        assert len(store._authors) <= 3
    assert texts(store, pen.room("a")) == [*map(str, range(10))]


VALUES: tuple[Any, ...] = ("session", 5, "ann", "client", 7, 3, 12, "ref", "text")


def of_values(values: Sequence[Any]) -> int:
    return checksum(author_checksum(*values[:4]), *values[4:])


@pytest.mark.parametrize("index", range(len(VALUES)))
def test_checksum_depends_on_each_value(index: int) -> None:
    value = VALUES[index]
    others: list[Any] = [value ^ 1 << bit for bit in range(20)] if isinstance(value, int) else []
    others += [value[:-1], value + "x", value[::-1], ""] if isinstance(value, str) else []
    assert others
    for other in others:
        assert of_values([*VALUES[:index], other, *VALUES[index + 1 :]]) != of_values(VALUES)
