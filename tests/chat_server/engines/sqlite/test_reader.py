"""The index is derived from the log: any damage is repaired by rebuilding it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.sqlite import index as index_module
from chat_server.engines.sqlite import log
from chat_server.engines.sqlite.connect import PAGE_BYTES, connect
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, texts

Open = Callable[..., SqliteEngine]
Held = Callable[[Path], list[str]]
ALL = [str(number) for number in range(600)]


def delete(index: Path) -> None:
    index.unlink()


def overwrite(index: Path) -> None:
    index.write_bytes(os.urandom(index.stat().st_size))


def cut_off(index: Path) -> None:
    os.truncate(index, PAGE_BYTES + 100)


def empty(index: Path) -> None:
    os.truncate(index, 0)


def damage_within(index: Path) -> None:
    """Damage it so that it can be opened, but not read."""
    with index.open("r+b") as file:
        file.seek(PAGE_BYTES)  # the second page: the root of `place`
        file.write(b"\xff" * PAGE_BYTES)


def by_sql(statement: str) -> Callable[[Path], None]:
    def change(index: Path) -> None:
        with closing(sqlite3.connect(index, isolation_level=None)) as other:
            other.execute(statement)

    return change


@pytest.mark.parametrize(
    "harm",
    [
        delete,
        overwrite,
        cut_off,
        empty,
        damage_within,
        by_sql("PRAGMA user_version = 99"),
        by_sql("DROP TABLE watermark"),
        by_sql("DELETE FROM watermark"),
        by_sql("UPDATE watermark SET epoch = 'another'"),
    ],
    ids=["deleted", "overwritten", "cut", "emptied", "damaged", "newer", "tableless", "markless", "foreign"],
)
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_unusable_index_is_rebuilt_at_open(
    open_store: Open,
    path: Path,
    harm: Callable[[Path], None],
    *,
    again: bool,
) -> None:
    store = open_store()
    epoch = store.epoch
    Pen(store).say("a", *ALL)
    store.close()
    for _ in range(1 + again):
        harm(path.with_name(path.name + "-index"))
        store = open_store()
        (record,) = store.public_rooms()
        assert record.head == len(ALL)
        assert texts(store, record) == ALL
        assert store.epoch == epoch
        store.close()


def test_outdated_index_is_updated_at_open(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "INDEX_STEP_ROWS", 7)  # in many steps
    index = path.with_name(path.name + "-index")
    store = open_store()
    Pen(store).say("a", *ALL[:100])
    store.close()
    shutil.copyfile(index, path.with_name("older"))
    store = open_store()
    Pen(store).say("a", *ALL[100:])
    store.close()
    shutil.copyfile(path.with_name("older"), index)
    store = open_store()
    (record,) = store.public_rooms()
    assert record.head == len(ALL)
    assert texts(store, record) == ALL


def test_index_damaged_in_use_is_rebuilt_once(open_store: Open, path: Path) -> None:
    """Repeated damage is a failure of the disk, which a rebuild cannot repair."""
    store = open_store()
    pen = Pen(store)
    pen.say("a", *ALL)
    assert texts(store, pen.room("a")) == ALL
    for first in (True, False):
        store.maintain(truncate=True)
        store.index._connection.execute("PRAGMA cache_size = 0")
        store.index._connection.execute("PRAGMA main.shrink_memory")
        damage_within(path.with_name(path.name + "-index"))
        if first:
            assert texts(store, pen.room("a")) == ALL
        else:
            with pytest.raises(StoreUnavailable, match="malformed"):
                texts(store, pen.room("a"))
    (message,) = pen.say("a", "the log goes on")
    assert message.seq == len(ALL) + 1


def test_failed_open_closes_all_files(
    open_store: Open, path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store().close()

    opened: list[Path] = []

    def connect_or_not(which: Path, *, full_sync: bool) -> sqlite3.Connection:
        opened.append(which)
        if len(opened) > 1:  # the last one, for checkpoints
            raise sqlite3.OperationalError("no more connections")
        return connect(which, full_sync=full_sync)

    with monkeypatch.context() as patch:
        patch.setattr(log, "connect", connect_or_not)
        with pytest.raises(sqlite3.OperationalError, match="no more connections"):
            open_store()
        assert held(path.parent) == []
    open_store()


def test_open_with_locked_index_still_reads_heads(open_store: Open, path: Path) -> None:
    """A full disk or a lock must not prevent a start."""
    index = path.with_name(path.name + "-index")
    store = open_store()
    Pen(store).say("a", "one", "two")
    store.close()
    with closing(sqlite3.connect(index, isolation_level=None)) as other:
        other.execute("DELETE FROM place")
        other.execute("UPDATE watermark SET id = 0")
        other.execute("BEGIN IMMEDIATE")
        (record,) = open_store().public_rooms()
    assert (record.name, record.head) == ("a", 2)
