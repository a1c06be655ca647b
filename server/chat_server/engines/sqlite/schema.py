"""The tables of the SQLite engine, as migrations: one entry a version; MUST NOT change once released.

`log` is the source of truth: append-only, except that retention deletes its oldest rows. `place` and `refs`
are derived from it and can be rebuilt at any time. They are in a file of their own, because two writers of
one SQLite file exclude each other.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from chat_server.engines.sqlite.connect import open_uri

APPLICATION_ID: Final = 0x47526D31
"""`GRm1` in the header of a data file (sqlite.org/fileformat.html, 1.3.10), from schema version 3 on."""

FIRST_VERSION_WITH_ID: Final = 3
"""Data files of earlier schema versions have the application id 0."""

SMALLEST_PAGE_BYTES: Final = 512
"""No database is shorter (sqlite.org/fileformat.html, 1.3.2)."""

_TABLES_BEFORE_ID: Final = frozenset({"meta", "identities", "sessions", "rooms", "log"})
"""Tables by which a data file without an application id is recognised."""

LOG_MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE identities (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('guest', 'account')),
        name TEXT NOT NULL,
        created REAL NOT NULL
    );
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        identity INTEGER NOT NULL REFERENCES identities (id),
        name TEXT NOT NULL,
        secret_hash BLOB NOT NULL UNIQUE,
        created REAL NOT NULL,
        ended REAL
    ) WITHOUT ROWID;
    CREATE TABLE rooms (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        low INTEGER REFERENCES identities (id),
        high INTEGER REFERENCES identities (id),
        created REAL NOT NULL,
        UNIQUE (low, high)
    );
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        room INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        session TEXT NOT NULL,
        identity INTEGER NOT NULL,
        ref TEXT,
        username TEXT NOT NULL,
        text TEXT NOT NULL,
        at REAL NOT NULL,
        origin TEXT NOT NULL
    );
    """,
    # `standings`: state of conversations that are open, or whose closing a user has not seen yet. `trimmed`:
    # the last deleted seq of the room, so that the room's head survives its messages.
    """
    CREATE TABLE standings (
        room INTEGER PRIMARY KEY REFERENCES rooms (id),
        seq INTEGER,
        closed_by INTEGER
    );
    ALTER TABLE rooms ADD COLUMN trimmed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX rooms_high ON rooms (high) WHERE high IS NOT NULL;
    """,
    # `checksum`: of the row (sqlite/rows.py); NULL in rows that an earlier version wrote.
    f"""
    ALTER TABLE log ADD COLUMN checksum INTEGER;
    PRAGMA application_id = {APPLICATION_ID};
    """,
    # `ended`: the room has ended, and its row keeps its name and last seq. `hidden`: the seq up to which its
    # messages can no longer be read, although the log still has those after `trimmed`.
    """
    ALTER TABLE rooms ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rooms ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX rooms_hidden ON rooms (id) WHERE hidden > trimmed;
    """,
)

PLACE_MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE place (
        room INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (room, seq)
    ) WITHOUT ROWID;
    CREATE TABLE watermark (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id INTEGER NOT NULL,
        epoch TEXT NOT NULL
    );
    INSERT INTO watermark VALUES (1, 0, '');
    """,
    # For new files only: an older index lacks the refs of earlier log rows and is rebuilt (sqlite/reader.py).
    """
    CREATE TABLE refs (
        session TEXT NOT NULL,
        id INTEGER NOT NULL,
        ref TEXT NOT NULL,
        PRIMARY KEY (session, id)
    ) WITHOUT ROWID;
    """,
    # `digest`: of all entries of `place` and of the watermark (sqlite/index.py).
    """
    ALTER TABLE watermark ADD COLUMN digest INTEGER NOT NULL DEFAULT 0;
    """,
)


class SchemaTooNew(Exception):  # noqa: N818  a state of the file
    """The data file was written by a later version of the program."""


class ForeignFile(Exception):  # noqa: N818  a state of the file
    """The data file belongs to another program, or is no database."""


def check_own(path: Path) -> None:
    """Raise `ForeignFile` unless `path` is a data file of this program, or one that is still to be made.

    Changes nothing: the file is opened for reading only, and without locks if it has no write-ahead log.
    """
    advice = f"choose another --store, or move {path} away"
    try:
        size = path.stat().st_size
        if not size:
            return
        if size < SMALLEST_PAGE_BYTES:  # SQLite would take it for empty, and write over it
            raise ForeignFile(f"{path} is not a data file of Greenroom, nor any database: {advice}")
        wal = path.with_name(path.name + "-wal")
        how = "mode=ro" if wal.exists() and wal.stat().st_size else "mode=ro&immutable=1"
    except FileNotFoundError:
        return
    try:
        with closing(open_uri(f"{path.absolute().as_uri()}?{how}")) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ForeignFile(
                f"{path} is not a data file of Greenroom, nor any database: {advice}"
            ) from error
        raise
    if application == APPLICATION_ID or (not application and not version and not names):
        return
    if application or version >= FIRST_VERSION_WITH_ID or not version or not names >= _TABLES_BEFORE_ID:
        raise ForeignFile(f"{path} is the database of another program: {advice}")


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...], what: str) -> None:
    """Migrate the file's schema to the newest version, each step in a transaction of its own.

    `what` names the file in the message of `SchemaTooNew`, which is raised for a file of a later version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise SchemaTooNew(
            f"{what} has schema version {version}, and this program knows versions up to {len(migrations)}: "
            "run a newer Greenroom, or choose another --store"
        )
    for number in range(version, len(migrations)):
        connection.executescript(f"BEGIN;{migrations[number]}PRAGMA user_version = {number + 1};COMMIT;")
