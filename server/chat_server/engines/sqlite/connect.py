"""Opens and configures connections to the engine's SQLite files."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

CACHE_KIB: Final = 64 * 1024
"""Page cache in KiB of a writing connection: recently changed pages are likely to change again."""

READ_CACHE_KIB: Final = 1024
"""Page cache in KiB of what a connection only reads: pages are seldom read twice in a short time."""

PAGE_BYTES: Final = 1024
"""A commit writes whole pages. Small pages halve the cost of committing one message, reduce its write-ahead
log to a third, and cost a batch of hundreds nothing."""


class NotText(sqlite3.DatabaseError):
    """SQLite has said something that is not UTF-8: the schema that it quotes is damaged."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def __init__(self) -> None:
        super().__init__("database disk image is malformed: its schema is not UTF-8")


class Connection(sqlite3.Connection):
    """Raises `NotText` where the sqlite3 module raises `UnicodeDecodeError`, which is no `sqlite3.Error`.

    `raw_execute` and `raw_executemany`, for each batch of messages, do not: that would be one more call.
    """

    raw_execute = sqlite3.Connection.execute
    raw_executemany = sqlite3.Connection.executemany

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Execute a statement."""
        try:
            return _execute(self, sql, parameters)
        except UnicodeDecodeError as error:
            raise NotText from error

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        """Execute a statement with each of the parameters."""
        try:
            return _executemany(self, sql, parameters)
        except UnicodeDecodeError as error:
            raise NotText from error

    def executescript(self, script: str, /) -> sqlite3.Cursor:
        """Execute statements."""
        try:
            return _executescript(self, script)
        except UnicodeDecodeError as error:
            raise NotText from error


_execute: Final = sqlite3.Connection.execute
_executemany: Final = sqlite3.Connection.executemany
_executescript: Final = sqlite3.Connection.executescript


def open_uri(uri: str) -> Connection:
    """Open a connection without implicit transactions, which never waits for a lock."""
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=0, check_same_thread=False, factory=Connection
    )


def connect(path: Path, *, full_sync: bool) -> Connection:
    """Open a connection without implicit transactions and checkpoints, which never waits for a lock."""
    _create(path)
    connection = open_uri(path.absolute().as_uri())
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
    connection = open_uri(f"{index.absolute().as_uri()}?mode=ro")
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
