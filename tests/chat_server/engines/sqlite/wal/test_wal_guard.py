"""A write-ahead log that is cut off under the server costs what was cut off, and no more."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.wal.guard import ASIDE_SUFFIX, WalCut
from support.engines.kinds import open_sqlite
from support.engines.pen import Pen, say_around_upkeep, texts
from support.engines.program import run_program

Open = Callable[..., SqliteEngine]

PLAYS = 120

PLAY = """
import json
import os
import random
import sqlite3

def play(path, rng):
    '''Say, checkpoint, cut off, say more before the server looks, and end in some way.'''
    clock = lambda: 1.7e9  # the same, so that only the first append looks
    store = open_sqlite(path, clock, full=rng.random() < 0.2)
    pen = Pen(store)
    said = kept = 0
    pen.register(*map(pen.room, "abc"))  # nothing is read later

    def say(count):
        nonlocal said
        for _ in range(count):
            text = f"{said} " + rng.choice("xy") * rng.choice([0, 30, 700, 3000])
            pen.say(rng.choice("abc"), text)
            said += 1

    for _ in range(rng.randrange(1, 4)):
        say(rng.randrange(1, 30))
        if rng.random() < 0.6:
            store.maintain(truncate=rng.random() < 0.3)
            kept = said
            say(rng.choice([0, 0, 3, 30]))
    acknowledged = said
    wal = f"{path}-wal"
    for _ in range(rng.choice([1, 1, 2])):
        os.truncate(wal, int(os.path.getsize(wal) * rng.random()))
        try:
            say(rng.choice([0, 1, 4]))
            if rng.random() < 0.5:
                store.maintain()
        except StoreUnavailable:
            pass
    path.with_name("facts").write_text(json.dumps([kept, acknowledged, store.epoch]))
    if rng.random() < 0.5:
        try:
            store.close()
        except sqlite3.Error:
            pass
    os._exit(0)

for number in range(int(sys.argv[2])):
    if not os.fork():
        try:
            play(Path(sys.argv[1]) / str(number) / "data" / "some.db", random.Random(number))
        finally:
            os._exit(1)
    _, status = os.wait()
    if status:
        print("play", number, "failed", flush=True)
"""


def test_any_cut_costs_the_end_and_never_the_data_file(tmp_path: Path) -> None:
    """What a checkpoint has copied is there at the next start, after a stop and after a kill."""
    with run_program(PLAY, tmp_path, PLAYS) as process:
        output, _ = process.communicate(timeout=300)
    assert (process.returncode, output) == (0, "")
    lost = 0
    for number in range(PLAYS):
        path = tmp_path / str(number) / "data" / "some.db"
        kept, acknowledged, epoch = json.loads(path.with_name("facts").read_text())
        store = open_sqlite(path)
        found = sorted(int(text.split()[0]) for room in store.public_rooms() for text in texts(store, room))
        assert found == [*range(len(found))], number
        assert kept <= len(found), number
        assert store.unreadable_messages == 0, number
        if len(found) < acknowledged:
            lost += 1
            assert store.epoch != epoch, number
        Pen(store).say("a", "on")
        store.maintain()
        store.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], number
    assert lost > PLAYS / 10


@pytest.fixture
def store(open_store: Open) -> SqliteEngine:
    return open_store()


@pytest.fixture
def pen(store: SqliteEngine) -> Pen:
    return say_around_upkeep(store)


@pytest.fixture
def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def test_what_is_written_behind_a_hole_is_not_copied_by_a_checkpoint(
    store: SqliteEngine, pen: Pen, wal: Path
) -> None:
    """Nor by the stop, which leaves the files as they are."""
    os.truncate(wal, wal.stat().st_size // 2)
    pen.say("a", "behind the hole")  # within 50 ms after a look
    left = wal.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="-wal was cut off or overwritten"):
            store.maintain()
        with pytest.raises(StoreUnavailable, match="-wal was cut off or overwritten"):
            store.maintain(truncate=True)
        with pytest.raises(StoreUnavailable, match="-wal was cut off or overwritten"):
            pen.say("a", "more")
    with pytest.raises(WalCut, match="-wal was cut off or overwritten"):
        store.close()
    assert wal.read_bytes() == left


@pytest.mark.usefixtures("pen")
def test_frames_overwritten_within_are_not_copied_by_a_checkpoint(store: SqliteEngine, wal: Path) -> None:
    with wal.open("r+b") as file:
        file.seek(8000)
        file.write(bytes(4096))
    left = wal.read_bytes()
    with pytest.raises(StoreUnavailable, match="-wal was cut off or overwritten"):
        store.maintain()
    with pytest.raises(WalCut):
        store.close()
    assert wal.read_bytes() == left


def test_hole_in_what_is_in_the_data_file_already_does_not_prevent_the_stop(
    store: SqliteEngine, pen: Pen, wal: Path, open_store: Open
) -> None:
    store.maintain()
    os.truncate(wal, wal.stat().st_size // 2)
    store._gate.look_due_at = 0.0
    with pytest.raises(StoreUnavailable, match="cut off"):
        pen.say("a", "x")
    store.close()
    assert not wal.exists()
    again = open_store()
    assert texts(again, Pen(again).room("a")) == [*map(str, range(100))]
    assert (again.epoch, again.epoch_changed) == (store.epoch, False)


def test_cut_between_the_look_and_the_copying_lets_nothing_more_be_stored(
    store: SqliteEngine, pen: Pen, wal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store._wal._check.is_ready_for_checkpoint

    def then_cut() -> bool | None:
        found = real()
        os.truncate(wal, wal.stat().st_size // 3)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(store._wal._check, "is_ready_for_checkpoint", then_cut)
        with pytest.raises(StoreUnavailable):
            store.maintain()
    store._gate.look_due_at = 0.0
    with pytest.raises(StoreUnavailable, match="cut off"):
        pen.say("a", "x")
    with pytest.raises(WalCut):
        store.close()


def test_cut_after_the_copying_is_noticed(
    store: SqliteEngine, pen: Pen, wal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next write would begin the log again, and so hide it."""
    real = store._wal._check.is_whole

    def cut_first() -> bool:
        os.truncate(wal, wal.stat().st_size // 2)
        return real()

    with monkeypatch.context() as patch:
        patch.setattr(store._wal._check, "is_whole", cut_first)
        with pytest.raises(StoreUnavailable, match="cut off"):
            store.maintain()
    with pytest.raises(StoreUnavailable, match="cut off"):
        pen.say("a", "x")


def test_log_with_less_than_the_data_file_is_set_aside(open_store: Open, path: Path, wal: Path) -> None:
    """After a kill: its older pages must not hide the newer ones. A copy of the files is another matter."""
    program = """
store = open_sqlite(Path(sys.argv[1]))
Pen(store).say("a", *map(str, range(100)))
store.maintain()
import os
os._exit(0)
"""
    with run_program(program, path) as process:
        process.wait(timeout=60)
    os.truncate(wal, wal.stat().st_size // 3)
    left = wal.read_bytes()
    store = open_store()
    assert texts(store, Pen(store).room("a")) == [*map(str, range(100))]
    assert not store.epoch_changed
    assert path.with_name(path.name + ASIDE_SUFFIX).read_bytes() == left


@pytest.mark.parametrize("seed", range(20))
def test_index_whose_write_ahead_log_is_cut_off_or_overwritten_costs_nothing(
    open_store: Open, path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    store = open_store()
    pen = Pen(store)
    said = 0

    def say() -> None:
        nonlocal said
        for _ in range(rng.randrange(1, 60)):
            pen.say("a", str(said))
            said += 1

    wal = path.with_name(path.name + "-index-wal")
    for _ in range(rng.randrange(3)):
        say()
        store.maintain()
    say()
    store.index.update(store._last_id)
    size = wal.stat().st_size
    if rng.random() < 0.7:
        os.truncate(wal, rng.randrange(size))
    else:
        with wal.open("r+b") as file:
            file.seek(rng.randrange(size))
            file.write(bytes(2000))
    for _ in range(rng.randrange(3)):
        say()
        if rng.random() < 0.5:
            assert texts(store, pen.room("a")) == [*map(str, range(said))]
        store.maintain()
        assert texts(store, pen.room("a")) == [*map(str, range(said))]
    store.close()
    again = open_store()
    assert texts(again, Pen(again).room("a")) == [*map(str, range(said))]
    assert again.unreadable_messages == 0
    assert not again.epoch_changed
