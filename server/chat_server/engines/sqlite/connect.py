"""Opens and configures connections to the engine's SQLite files."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

CACHE_KIB: Final = 64 * 1024
"""Page cache in KiB of a writing connection: recently changed pages are likely to change again."""

READ_CACHE_KIB: Final = 1024
"""Page cache in KiB of what a connection only reads: pages are seldom read twice in a short time."""

PAGE_BYTES: Final = 1024
"""A commit writes whole pages. Small pages halve the cost of committing one message, reduce its write-ahead
log to a third, and cost a batch of hundreds nothing."""


def connect(path: Path, *, full_sync: bool) -> sqlite3.Connection:
    """Open a connection without implicit transactions and checkpoints, which never waits for a lock."""
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


def connect_index(index: Path, log: Path) -> sqlite3.Connection:
    """Open the index for writing, with the log attached as `log` for reading only.

    So no transaction of the index ever takes the log's write lock.
    """
    connection = connect(index, full_sync=False)
    try:
        _attach_log(connection, log)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(index: Path, log: Path) -> sqlite3.Connection:
    """Open the index and, attached as `log`, the log, both for reading only."""
    connection = sqlite3.connect(
        f"{index.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        timeout=0,
        check_same_thread=False,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{READ_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        _attach_log(connection, log)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach_log(connection: sqlite3.Connection, log: Path) -> None:
    connection.execute("ATTACH ? AS log", (f"{log.absolute().as_uri()}?mode=ro",))
    connection.execute(f"PRAGMA log.cache_size = -{READ_CACHE_KIB}")


def _create(path: Path) -> None:
    """Create the file if it does not exist, with mode 0600: messages are private.

    A file that exists is not touched: POSIX locks belong to the process, so closing any descriptor of it
    drops the locks of every connection to it, and then another program may delete the write-ahead log on its
    way out (sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN") -> Iterator[None]:
    """Commit everything that the block executes, or roll all of it back."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _configure(connection: sqlite3.Connection, *, full_sync: bool) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # takes effect in a new file only
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # no files for statement journals
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA secure_delete = ON")  # overwrite the text of deleted messages
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
