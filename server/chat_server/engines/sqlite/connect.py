"""How every connection to an SQLite file of ours is opened."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

CACHE_KIB: Final = 64 * 1024
"""Page cache of a connection that writes: what was dirtied lately is at hand for what comes next."""

READ_CACHE_KIB: Final = 1024
"""Page cache of one that only reads the log: what was read for one reader is seldom read again soon."""

PAGE_BYTES: Final = 1024
"""A commit writes whole pages. Small ones make the commit of one message cheaper by half and its write-ahead
log shorter to a third, and cost a batch of hundreds nothing."""


def connect(path: Path, *, full_sync: bool) -> sqlite3.Connection:
    """Open a connection that waits for no lock and makes no transaction or checkpoint by itself."""
    _create(path)
    connection = sqlite3.connect(
        path.absolute().as_uri(), uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    try:
        _configure(connection, full_sync=full_sync)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make the file if there is none, readable by nobody else: what is said is nobody else's.

    A file that exists is not touched: POSIX locks belong to the process, so closing any descriptor of it
    drops the locks of every connection to it, and then another program may delete the write-ahead log on its
    way out (sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


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
