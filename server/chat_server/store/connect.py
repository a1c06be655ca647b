"""How every connection to an SQLite file of ours is opened."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CACHE_KIB: Final = 64 * 1024
"""Page cache of a connection at most: what was dirtied lately is at hand for what comes next."""

PAGE_BYTES: Final = 1024
"""A commit writes whole pages. Small ones make the commit of one message cheaper by half and its write-ahead
log shorter to a third, and cost a batch of hundreds nothing."""


def connect(path: Path, *, full_sync: bool) -> sqlite3.Connection:
    """Open a connection that waits for no lock and makes no transaction or checkpoint by itself."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # what is said is nobody else's
    connection = sqlite3.connect(
        path.absolute().as_uri(), uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    try:
        _configure(connection, full_sync=full_sync)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN") -> Iterator[None]:
    """Commit all that is done within, or nothing of it."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _configure(connection: sqlite3.Connection, *, full_sync: bool) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # a statement's journal needs no file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = ON")  # a deleted message's text is not left in the file
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
