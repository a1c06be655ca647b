import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite.connect import connect


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
