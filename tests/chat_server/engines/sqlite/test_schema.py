import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite.log import SqliteEngine
from chat_server.engines.sqlite.schema import LOG_MIGRATIONS, PLACE_MIGRATIONS, SchemaTooNew, migrate

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
