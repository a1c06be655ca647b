"""Checkpoints of a write-ahead log that is known to be whole, and none of one that is not."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from chat_server.engines.sqlite.data_file_lock import is_locked_here
from chat_server.engines.sqlite.wal.check import WalCheck

ASIDE_SUFFIX: Final = "-wal-cut"
"""Ending of a write-ahead log that was moved out of the way at a start."""


class WalCut(sqlite3.DatabaseError):
    """Frames of the write-ahead log are missing."""


def wal_cut_text(data: Path | str) -> str:
    """Return what is wrong with the write-ahead log."""
    return f"{data}-wal was cut off or overwritten while in use: restart the server"


class WalGuard:
    """The checkpoints of one data file, from before its first connection until after its last.

    `look` is for the thread that appends, all else for the one that checkpoints.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._check = WalCheck(data)
        self._closed_last: sqlite3.Connection | None = None
        self.look: Final = WalCheck(data)
        # As the last process has left it: the first connection, also one that only reads, changes the `-shm`.
        self._is_older = not is_locked_here(data) and self._check.is_older_than_data()
        self._check.close()

    def set_aside_older(self, *, is_original: bool) -> None:
        """Rename a write-ahead log of which less is left than was copied into the data file.

        SQLite would put its older pages over those of the data file. No connection MAY be open yet. What was
        committed after the last checkpoint is lost with its end. `is_original`: whether the data file is no
        copy, which may be older or newer. Raises `OSError`.
        """
        if self._is_older and is_original:
            Path(f"{self._data}-wal").replace(f"{self._data}{ASIDE_SUFFIX}")

    def sync(self) -> None:
        """Write the write-ahead log through to the disk. Raises `OSError`.

        A checkpoint does it, too, but not while another program reads, and the checkpoint has nothing to do.
        """
        self._check.sync()

    def checkpoint(self, connection: sqlite3.Connection, how: str) -> bool:
        """Checkpoint a write-ahead log that is whole; return whether another program is in the way.

        Raises `WalCut` for one that is not, and `sqlite3.Error`.
        """
        whole = self._check.is_ready_for_checkpoint()
        if whole is None:
            raise sqlite3.OperationalError("a commit does not end")
        if not whole:
            raise WalCut(wal_cut_text(self._data))
        failure: sqlite3.Error | None = None
        busy = 0
        try:
            busy, _, _ = connection.execute(f"PRAGMA main.wal_checkpoint({how})").fetchone()
        except sqlite3.Error as error:
            failure = error
        if not self._check.is_whole():  # the next write might begin the log again, and so hide it
            raise WalCut(wal_cut_text(self._data)) from failure
        if failure is not None:
            raise failure
        return bool(busy)

    def prevent_checkpoint(self, connection: sqlite3.Connection) -> None:
        """Let no connection checkpoint when it is closed: the last will be this one, which only reads."""
        self._closed_last = connection

    def close(self) -> None:
        """Close the files. No other connection MAY be open any more."""
        if self._closed_last is not None:
            with suppress(sqlite3.Error):  # nothing is written
                self._closed_last.close()
        self.look.close()
        self._check.close()
