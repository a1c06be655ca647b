import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.schema import (
    APPLICATION_ID,
    LOG_MIGRATIONS,
    PLACE_MIGRATIONS,
    ForeignFile,
    SchemaTooNew,
    migrate,
)
from support.engines.program import run_program

FIRST = "CREATE TABLE one (a);"
SECOND = "CREATE TABLE two (b); INSERT INTO two VALUES (1);"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def test_migrate_runs_each_step_once(connection: sqlite3.Connection) -> None:
    migrate(connection, (FIRST,), "it")
    assert version(connection) == 1
    migrate(connection, (FIRST, SECOND), "it")
    migrate(connection, (FIRST, SECOND), "it")
    assert version(connection) == 2
    assert connection.execute("SELECT count(*) FROM two").fetchone() == (1,)


def test_migrate_rolls_back_failed_step(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.Error):
        migrate(connection, (FIRST, "CREATE TABLE two (b); INSERT INTO nowhere VALUES (1);"), "it")
    connection.execute("ROLLBACK")
    assert version(connection) == 1
    migrate(connection, (FIRST, SECOND), "it")


@pytest.mark.parametrize("migrations", [LOG_MIGRATIONS, PLACE_MIGRATIONS])
def test_migrate_refuses_newer_schema_unchanged(
    connection: sqlite3.Connection, migrations: tuple[str, ...]
) -> None:
    migrate(connection, migrations, "it")
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew, match="it has schema version 99"):
        migrate(connection, migrations, "it")
    assert version(connection) == 99


def test_open_of_newer_data_file_fails_and_releases_it(
    open_store: Callable[..., SqliteEngine], path: Path, held: Callable[[Path], list[str]]
) -> None:
    open_store().close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaTooNew, match="run a newer Greenroom"):
        open_store()
    assert held(path.parent) == []
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {len(LOG_MIGRATIONS)}")
    open_store()  # the lock is free


def test_first_version_has_identities_and_sessions(
    open_store: Callable[..., SqliteEngine], path: Path
) -> None:
    open_store()
    with closing(sqlite3.connect(path)) as other:
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"identities", "sessions", "rooms", "log", "meta"} <= tables


FOREIGN = {
    "a table": ("CREATE TABLE t (x)",),
    "a table, version 1": ("CREATE TABLE t (x)", "PRAGMA user_version = 1"),
    "a table, version 2": ("CREATE TABLE t (x)", "PRAGMA user_version = 2"),
    "a table, version 3": ("CREATE TABLE t (x)", "PRAGMA user_version = 3"),
    "a table, version 99": ("CREATE TABLE t (x)", "PRAGMA user_version = 99"),
    "a version only": ("PRAGMA user_version = 2",),
    "a view": ("CREATE VIEW v AS SELECT 1",),
    "some of the tables": ("CREATE TABLE log (x)", "CREATE TABLE meta (x)", "PRAGMA user_version = 2"),
    "an application id": ("PRAGMA application_id = 1196444487",),
    "a table, in WAL mode": ("PRAGMA journal_mode = WAL", "CREATE TABLE t (x)"),
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_database_of_another_program_is_refused_untouched(
    open_store: Callable[..., SqliteEngine], path: Path, statements: tuple[str, ...]
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
    before = path.read_bytes()
    with pytest.raises(ForeignFile, match="is the database of another program: choose another --store"):
        open_store()
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_database_that_another_program_uses_is_refused_untouched(
    open_store: Callable[..., SqliteEngine], path: Path
) -> None:
    """Given one whose tables are in the write-ahead log only."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t (x)")
        before = {one.name: one.read_bytes() for one in path.parent.iterdir() if "-shm" not in one.name}
        with pytest.raises(ForeignFile, match="another program"):
            open_store()
        assert before == {
            one.name: one.read_bytes() for one in path.parent.iterdir() if "-shm" not in one.name
        }
        other.execute("INSERT INTO t VALUES (1)")


@pytest.mark.parametrize("content", [b"x", b"this is somebody's diary, and not a database " * 100])
def test_file_that_is_no_database_is_refused_untouched(
    open_store: Callable[..., SqliteEngine], path: Path, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ForeignFile, match="is not a data file of Greenroom, nor any database"):
        open_store()
    assert path.read_bytes() == content
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    path.unlink()
    open_store()


@pytest.mark.parametrize("statements", [(), ("PRAGMA journal_mode = WAL",), ("VACUUM",)], ids=str)
def test_empty_file_or_database_is_used(
    open_store: Callable[..., SqliteEngine], path: Path, statements: tuple[str, ...]
) -> None:
    path.parent.mkdir()
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
    store = open_store()
    store.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_data_file_whose_tables_are_in_the_write_ahead_log_only_is_known(
    open_store: Callable[..., SqliteEngine], path: Path
) -> None:
    """As a server leaves it that dies in its first second."""
    begin = """
store = open_sqlite(Path(sys.argv[1]))
Pen(store).say("a", "one")
print("written", flush=True)
sys.stdin.read()
"""
    with run_program(begin, path, stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "written\n"
        process.kill()
        process.wait()
    assert path.with_name(path.name + "-wal").stat().st_size > path.stat().st_size
    (room,) = open_store().public_rooms()
    assert (room.name, room.head) == ("a", 1)
