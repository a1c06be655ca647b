"""The index of a long log is built in time that is linear in its rows."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chat_server.engines.sqlite import index as index_module
from chat_server.engines.sqlite import index_build


def test_pages_written_for_an_entry_do_not_grow_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the rows, in many rooms, cost ten times the pages."""
    monkeypatch.setattr(index_build, "RUN_ROWS", 2_000)
    monkeypatch.setattr(index_build, "MERGE_ROWS", 2_000)
    monkeypatch.setattr(index_build, "PAUSE_S", 0.0)
    written = []
    for rows in (5_000, 50_000):
        path = tmp_path / f"{rows}.db"
        long_log(path, rows)
        index = index_module.Index(path, "epoch", 0)
        builder = index_build.IndexBuilder(index.path, path, "missing", rows, {}, lambda _: None)
        builder.start()
        builder._thread.join()
        assert builder.failure is None
        written.append(Path(f"{index.path}-wal").stat().st_size / rows)
        with closing(sqlite3.connect(index.path)) as other:
            assert other.execute("SELECT count(*) FROM place").fetchone() == (rows,)
        index.close(0)
    assert written[1] < 1.5 * written[0]


def long_log(path: Path, rows: int) -> None:
    """Make the table of a log with rows of a thousand rooms by turns, straight with SQL."""
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, room, seq, session, ref)")
        log.execute("CREATE TABLE sessions (id)")
        log.execute(
            "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT ?) "
            "INSERT INTO log SELECT i + 1, i * 7919 % 1000, i / 1000, 's', NULL FROM n",
            (rows,),
        )
