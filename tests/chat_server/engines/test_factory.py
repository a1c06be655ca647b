"""The threads of the SQLite engine, which do not wait for each other; files that cannot be used."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.factory import CannotStart, open_engine
from chat_server.engines.sqlite.reader import LogReader
from chat_server.settings import load
from support.engines.pen import Pen, Room

HISTORY_READS = 20


@pytest.fixture
def open_at(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def open_one(path: Path = tmp_path / "data.db", *flags: str) -> Any:
        config = load.load(["--store", f"sqlite:///{path}", *flags], {"HOME": str(tmp_path)})
        opened.append(open_engine(config, lambda: 1.7e9))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    """The order in which reads are served: those of history wait for the event, in their thread."""
    served: list[str] = []
    go = threading.Event()
    read = LogReader.read

    def noting(self: LogReader, *args: Any) -> Any:
        if args[4] == HISTORY_READS and not go.wait(60):
            pytest.fail("nobody let it go on")
        found = read(self, *args)
        served.append("history" if args[4] == HISTORY_READS else "catching up")
        return found

    monkeypatch.setattr(LogReader, "read", noting)
    return served, go


def test_sessions_that_catch_up_and_upkeep_do_not_wait_for_readers_of_history(
    open_at: Callable[..., Any], order: tuple[list[str], threading.Event]
) -> None:
    # Given many reads of history, of which the first is not done
    served, go = order
    store = open_at()
    pen = Pen(store)
    pen.say("a", *map(str, range(30)))
    room: Room = pen.room("a")

    def history() -> int:
        return len(store.read(room.id, "a", 0, 99, HISTORY_READS, newest=True))

    readers = [gevent.spawn(history) for _ in range(HISTORY_READS)]
    gevent.sleep(0)

    # Then all else is served: sessions that catch up, checkpoints, refs, retention, messages
    for _ in range(3):
        assert len(store.read(room.id, "a", 0, 99, 7, newest=False, catching_up=True)) == 7
        assert store.maintain() > 0
    assert store.refs("nobody", 9) == {}
    assert store.trim(keep=29, before=0.0) == {room.id: 1}
    assert pen.say("a", "next")[0].seq == 31
    assert served == ["catching up"] * 3

    # And the readers of history are in their turn
    go.set()
    gevent.joinall(readers, raise_error=True)
    assert [reader.value for reader in readers] == [HISTORY_READS] * HISTORY_READS
    assert served == ["catching up"] * 3 + ["history"] * HISTORY_READS


def folder(path: Path) -> None:
    path.mkdir()


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE t (x)")


def text(path: Path) -> None:
    path.write_text("my diary")


def damaged(path: Path) -> None:
    foreign(path)
    data = bytearray(path.read_bytes())
    data[100:200] = bytes(100)  # the root page of the schema
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (folder, "not a regular file"),
        (foreign, "is the database of another program"),
        (text, "nor any database"),
        (damaged, "cannot use the data file"),
    ],
)
def test_file_that_cannot_be_used_is_reported_in_one_line(
    open_at: Callable[..., Any], tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "other.db"
    make(path)
    with pytest.raises(CannotStart, match=said) as raised:
        open_at(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_file_that_is_in_use_is_reported_in_one_line(open_at: Callable[..., Any]) -> None:
    open_at()
    with pytest.raises(CannotStart, match="in use by the server with process id"):
        open_at()


@pytest.mark.parametrize(("suffix", "refusals"), [("", range(20, 200)), ("-index", range(1))])
def test_bytes_of_the_schema_that_are_no_text_are_damage(
    tmp_path: Path, suffix: str, refusals: range
) -> None:
    """Given any byte of the schema that is not UTF-8: an index is made again, a data file is refused."""
    path = tmp_path / "data.db"
    config = load.load(["--store", f"sqlite:///{path}"], {"HOME": str(tmp_path)})
    with closing(open_engine(config, lambda: 1.7e9)) as store:
        Pen(store).say("a", *map(str, range(30)))
    good = {one: one.read_bytes() for one in tmp_path.glob("data.db*")}
    file = path.with_name(path.name + suffix)
    begins = [found.start() for found in re.finditer(b"CREATE (TABLE|INDEX)", good[file])]
    refused: list[Exception] = []
    for at in (begin + offset for begin in begins for offset in range(-40, 100, 13)):
        for one, data in good.items():
            one.write_bytes(data)
        file.write_bytes(good[file][:at] + b"\x8e" + good[file][at + 1 :])
        try:
            with closing(open_engine(config, lambda: 1.7e9)) as store:
                rooms = store.public_rooms()
                found = store.read(rooms[0].id, "a", 0, 99, 99, newest=True)
                assert len(found) == 30 or not suffix, at
        except (CannotStart, StoreUnavailable) as error:
            refused.append(error)
    assert len(refused) in refusals
    sentences = [str(error) for error in refused if isinstance(error, CannotStart)]
    assert all(str(path) in sentence and "\n" not in sentence for sentence in sentences)
