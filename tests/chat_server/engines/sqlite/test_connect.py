import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite.connect import Connection, NotText, connect, open_uri
from chat_server.engines.sqlite.damage import is_corruption


def test_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a #?%.db"
    with closing(connect(path, full_sync=False)) as connection:
        connection.execute("CREATE TABLE t (a)")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.with_name(path.name + "-wal").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("full", [False, True])
def test_connection_has_no_lock_timeout_and_no_automatic_checkpoint(tmp_path: Path, *, full: bool) -> None:
    with closing(connect(tmp_path / "db", full_sync=full)) as connection:
        asked = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "busy_timeout", "wal_autocheckpoint", "synchronous")
        }
    assert asked == {
        "journal_mode": "wal",
        "busy_timeout": 0,
        "wal_autocheckpoint": 0,
        "synchronous": 2 if full else 1,
    }


def test_failed_connect_closes_the_file(tmp_path: Path, held: Callable[[Path], list[str]]) -> None:
    path = tmp_path / "db"
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(sqlite3.DatabaseError) as raised:
        connect(path, full_sync=False)
    assert raised.tb  # the traceback keeps open files alive
    assert held(tmp_path) == []


def test_error_of_sqlite_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    """The sqlite3 module raises `UnicodeDecodeError`, which is none of its own errors."""
    path = tmp_path / "db"
    with closing(connect(path, full_sync=False)) as connection:
        connection.execute("CREATE TABLE place (x)")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"CREATE TABLE place (x)", b"CREATE TABLE place \x8ex)"))
    calls: tuple[Callable[[Connection], object], ...] = (
        lambda connection: connection.execute("SELECT 1 FROM place"),
        lambda connection: connection.executemany("INSERT INTO place VALUES (?)", [(1,)]),
        lambda connection: connection.executescript("SELECT 1 FROM place;"),
    )
    for call in calls:
        with closing(open_uri(path.as_uri())) as connection:
            with pytest.raises(NotText, match="malformed") as raised:
                call(connection)
            assert is_corruption(raised.value)
