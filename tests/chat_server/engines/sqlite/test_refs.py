"""Refs after a restart: a message that is sent again must not be stored twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.core.ports.log import StoredAt, StoreUnavailable, ref_key
from chat_server.core.ports.registry import RegistryChanges, SessionRecord
from chat_server.engines.sqlite import refs, upkeep
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, keyed

Open = Callable[..., SqliteEngine]
Say = Callable[..., list[StoredAt]]


def make_say(store: SqliteEngine) -> Say:
    """Return a function that writes messages with refs and returns where they are stored."""
    pen = Pen(store)
    pen.register(pen.room("a"))

    def say(session: str, *said: str | None) -> list[StoredAt]:
        pen.session = session
        return [one.stored_at for one in pen.append(*((pen.room("a"), "hi") for _ in said), refs=said)]

    return say


def save(store: SqliteEngine, *sessions: str) -> None:
    records = [SessionRecord(one, 1, "ann", one.encode()) for one in sessions]
    store.write(RegistryChanges(sessions=records))


def end(store: SqliteEngine, *sessions: str) -> None:
    store.write(RegistryChanges(ended_sessions=[*sessions]))


def stored(store: SqliteEngine) -> dict[str, int]:
    store.refs("", 1)  # indexes
    rows = store.index._connection.execute("SELECT session, count(*) FROM refs GROUP BY session")
    return dict(rows.fetchall())


def prune(store: SqliteEngine, times: int = 1) -> None:
    for _ in range(times * upkeep.MAINTENANCES_PER_PRUNE):
        store.maintain()


def delete_index(path: Path) -> None:
    path.with_name(path.name + "-index").unlink()


def first_version(path: Path) -> None:
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("DROP TABLE refs")
        other.execute("PRAGMA user_version = 1")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("UPDATE watermark SET epoch = 'another'")
        other.execute("INSERT INTO refs VALUES ('s1', 999, 'of another history')")


@pytest.mark.parametrize("harm", [None, delete_index, first_version, foreign])
def test_refs_of_resumable_session_survive_restart(
    open_store: Open,
    path: Path,
    harm: Callable[[Path], None] | None,
) -> None:
    store = open_store()
    save(store, "s1", "s2")
    say = make_say(store)
    ids = say("s1", "a", None, "b")
    (other,) = say("s2", "a")
    say("a guest's", "a")
    assert store.refs("s1", 9) == keyed({"a": ids[0], "b": ids[2]})  # at once: it is indexed first
    ids += say("s1", "c")
    store.close()
    if harm is not None:
        harm(path)
    store = open_store()
    assert [*store.refs("s1", 9).items()] == [*keyed({"a": ids[0], "b": ids[2], "c": ids[3]}).items()]
    assert store.refs("s2", 9) == keyed({"a": other})
    assert store.refs("a guest's", 9) == {}
    assert store.refs("nobody", 9) == {}


def test_refs_beyond_limit_are_the_newest(open_store: Open) -> None:
    store = open_store()
    save(store, "s1")
    say = make_say(store)
    ids = say("s1", *"abcdea")
    assert [*store.refs("s1", 3).items()] == [*keyed({"d": ids[3], "e": ids[4], "a": ids[5]}).items()]
    newest = dict(zip("bcdea", ids[1:], strict=True))  # of a ref used twice the last row
    assert [*store.refs("s1", 9).items()] == [*keyed(newest).items()]


def test_refs_of_guest_sessions_are_not_indexed(open_store: Open) -> None:
    store = open_store()
    say = make_say(store)
    say("guest", "a", "b")
    assert stored(store) == {}
    save(store, "s1")
    say("guest", "c")
    say("s1", "a", None)
    assert stored(store) == {"s1": 1}


def test_prune_deletes_surplus_refs_in_bounded_steps(
    open_store: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given ended sessions, and one with too many refs, the surplus is deleted by maintenance."""
    monkeypatch.setattr(refs, "PRUNE_STEP_REFS", 300)
    store = open_store()
    save(store, "s1", "s2", "s3", "s4")
    say = make_say(store)
    ids = say("s1", *map(str, range(refs.REFS_PER_SESSION + 400)))
    for one in ("s2", "s3", "s4"):
        say(one, *map(str, range(10)))
    assert stored(store) == {"s1": refs.REFS_PER_SESSION + 400, "s2": 10, "s3": 10, "s4": 10}
    end(store, "s2", "s4")
    prune(store)
    assert stored(store) == {"s1": refs.REFS_PER_SESSION + 100, "s2": 10, "s3": 10, "s4": 10}
    prune(store)
    assert stored(store) == {"s1": refs.REFS_PER_SESSION, "s3": 10}
    assert [*store.refs("s1", 10_000).values()] == ids[400:]
    end(store, "s1", "s3")
    prune(store, 5)
    assert stored(store) == {}


def test_prune_of_many_sessions_continues_where_it_stopped(open_store: Open) -> None:
    store = open_store()
    sessions = [f"s{number:04}" for number in range(refs.PRUNE_STEP_SESSIONS + 50)]
    save(store, *sessions)
    say = make_say(store)
    for one in sessions:
        say(one, "a")
    assert stored(store).keys() == set(sessions)
    end(store, sessions[5], sessions[-1])
    prune(store)
    assert set(sessions) - stored(store).keys() == {sessions[5]}
    prune(store)
    assert set(sessions) - stored(store).keys() == {sessions[5], sessions[-1]}
    end(store, sessions[0])
    prune(store)  # from the beginning again
    assert sessions[0] not in stored(store)


def test_refs_of_locked_index_raises_unavailable(open_store: Open, path: Path) -> None:
    store = open_store()
    save(store, "s1")
    make_say(store)("s1", "a")
    with closing(sqlite3.connect(f"{path}-index", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.refs("s1", 9)
    assert store.refs("s1", 9).keys() == {ref_key("a")}
