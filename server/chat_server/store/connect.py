"""How every connection to an SQLite file of ours is opened."""

import sqlite3
from pathlib import Path
from typing import Final

CACHE_KIB: Final = 64 * 1024
"""Page cache of a connection at most: what was dirtied lately is at hand for what comes next."""


def connect(path: Path, *, full_sync: bool) -> sqlite3.Connection:
    """Open a connection that waits for no lock and makes no transaction or checkpoint by itself."""
    connection = sqlite3.connect(
        path.absolute().as_uri(), uri=True, isolation_level=None, timeout=0, check_same_thread=False
    )
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
    return connection
