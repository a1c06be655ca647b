"""The files of a data file: their sizes, and whether another program has changed them under the server."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from chat_server.engines.sqlite.data_file_lock import SIDE_FILES
from chat_server.engines.sqlite.wal.check import WalCheck
from chat_server.engines.sqlite.wal.guard import wal_cut_text

LOOK_INTERVAL_S: Final = 0.05
"""Seconds after a look at the files in which batches are written without another one: what is acknowledged in
that time after a file was removed may be lost with it."""

_INDEX_FILES: Final = ("-index", "-index-wal", "-index-shm")


class _Known(NamedTuple):
    """A file at the last look. `changed`: when its content was, in nanoseconds."""

    inode: tuple[int, int]
    size: int
    changed: int


class FileWatch:
    """Compares the files with what the server knows of them. A look takes some 20 µs.

    Noticed are a file that is missing, or another one with its name; one that has become shorter; a data file
    that somebody else has written to; and a write-ahead log that was cut off, also if it has grown since
    (wal/check.py).
    """

    def __init__(self, data: Path, wal: WalCheck) -> None:
        self._data = data
        self._wal = wal
        self._paths: Final = {suffix: f"{data}{suffix}" for suffix in ("", *SIDE_FILES)}
        self._known: dict[str, _Known | None] = {}
        self._checkpointing = False
        self._mapping_cut = ""
        self.wal_bytes = 0
        """Size of the write-ahead log at the last look."""
        for suffix in self._paths:
            self._accept(suffix)

    def look(self) -> str:
        """Return what is wrong with the files, empty if nothing is."""
        if self._mapping_cut:
            return self._mapping_cut
        for suffix, known in self._known.items():
            if known is None:
                continue
            path = self._paths[suffix]
            try:
                status = os.stat(path)  # noqa: PTH116  a Path would double the time
            except OSError:
                return f"{path} was removed or replaced while in use: restart the server"
            if (status.st_dev, status.st_ino) != known.inode:
                return f"{path} was removed or replaced while in use: restart the server"
            if status.st_size < known.size and suffix != "-index-wal":
                if suffix == "-wal":
                    return wal_cut_text(self._data)
                wrong = f"{path} was cut off while in use: restart the server"
                if suffix.endswith("-shm"):
                    self._fill_up(path, known.size)
                    self._mapping_cut = wrong  # its size is right again, its content is not
                return wrong
            if suffix == "":
                if status.st_mtime_ns != known.changed and not self._checkpointing:
                    return f"{path} was changed by another program while in use: restart the server"
            elif suffix == "-wal":
                if not self._wal.is_whole():
                    return wal_cut_text(self._data)
                self._remember_wal(status.st_size)
            elif status.st_size > known.size:
                self._known[suffix] = _Known(known.inode, status.st_size, 0)
        if self._known["-wal"] is None:
            self._accept("-wal")  # SQLite makes it with the first transaction
            self._accept("-shm")
        return ""

    def begin_checkpoint(self) -> None:
        """Note that the server changes the data file until `end_checkpoint`."""
        self._checkpointing = True

    def end_checkpoint(self, *, truncated: bool = False) -> None:
        """Take the data file as it is now; with `truncated` the write-ahead log, too.

        Changes nothing if a file is wrong already.
        """
        self._checkpointing = False
        for suffix in ("", "-wal") if truncated else ("",):
            known = self._known[suffix]
            with suppress(OSError):
                status = os.stat(self._paths[suffix])  # noqa: PTH116  as above
                if known is None or (status.st_dev, status.st_ino) == known.inode:
                    self._accept(suffix)

    def ignore_index(self) -> None:
        """Look at the index no more: it is going to be made again."""
        for suffix in _INDEX_FILES:
            self._known[suffix] = None

    def accept_index(self) -> None:
        """Take the index as it is now."""
        for suffix in _INDEX_FILES:
            self._accept(suffix)

    def _accept(self, suffix: str) -> None:
        """Take a file as it is."""
        try:
            status = os.stat(self._paths[suffix])  # noqa: PTH116  as above
        except FileNotFoundError:
            self._known[suffix] = None
            return
        self._known[suffix] = _Known((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)
        if suffix == "-wal":
            self._wal.open()
            self._remember_wal(status.st_size)

    def _remember_wal(self, size: int) -> None:
        known = self._known["-wal"]
        if known is not None and known.size != size:
            self._known["-wal"] = _Known(known.inode, size, 0)
        self.wal_bytes = size

    @staticmethod
    def _fill_up(path: str, size: int) -> None:
        """Lengthen shared memory of SQLite that was cut off: an access to missing pages would be a SIGBUS."""
        with suppress(OSError):
            os.truncate(path, size)


def disk_sizes(path: Path) -> dict[str, int]:
    """Return bytes by the names of the event log: of data and index, of their write-ahead logs, and free."""
    sizes = {}
    for field, suffixes in (("store_bytes", ("", "-index")), ("wal_bytes", ("-wal", "-index-wal"))):
        sizes[field] = sum(_file_bytes(path.with_name(path.name + suffix)) for suffix in suffixes)
    return {**sizes, "free_bytes": shutil.disk_usage(path.parent).free}


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
