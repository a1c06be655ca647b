"""The files of a data file: their sizes, and whether another program has changed them under the server."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from chat_server.engines.sqlite.data_file_lock import SIDE_FILES

LOOK_INTERVAL_S: Final = 0.05
"""Seconds after a look at the files in which batches are written without another one: what is acknowledged in
that time after a file was removed may be lost with it."""

_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
"""Lengths in a write-ahead log (sqlite.org/fileformat.html, 4.1)."""

_INDEX_FILES: Final = ("-index", "-index-wal", "-index-shm")


class _Known(NamedTuple):
    """A file at the last look. `changed`: when its content was, in nanoseconds."""

    inode: tuple[int, int]
    size: int
    changed: int


class FileWatch:
    """Compares the files with what the server knows of them. A look takes some 10 µs.

    Noticed are a file that is missing, or another one with its name; one that has become shorter; a data file
    that somebody else has written to; and a write-ahead log that was cut off, also if it has grown since: the
    header of the frame that was its last one is gone. Bytes that are changed within a write-ahead log are not
    noticed.
    """

    def __init__(self, data: Path, page_bytes: int) -> None:
        self._paths: Final = {suffix: f"{data}{suffix}" for suffix in ("", *SIDE_FILES)}
        self._frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        self._known: dict[str, _Known | None] = {}
        self._wal = -1  # SQLite has no lock on this file: it may be opened and closed
        self._last_frame = (0, 0)  # offset and length of the header of the last frame at the last look
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
                wrong = f"{path} was cut off while in use: restart the server"
                if suffix.endswith("-shm"):
                    self._fill_up(path, known.size)
                    self._mapping_cut = wrong  # its size is right again, its content is not
                return wrong
            if suffix == "":
                if status.st_mtime_ns != known.changed and not self._checkpointing:
                    return f"{path} was changed by another program while in use: restart the server"
            elif suffix == "-wal":
                if self._is_wal_cut():
                    return f"{path} was cut off while in use: restart the server"
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

    def sync_wal(self) -> None:
        """Write the write-ahead log through to the disk. Raises `OSError`. For any thread.

        A checkpoint does it, too, but not while another program reads, and the checkpoint has nothing to do.
        """
        if self._wal >= 0:
            os.fdatasync(self._wal)

    def close(self) -> None:
        """Look no more."""
        if self._wal >= 0:
            os.close(self._wal)
            self._wal = -1

    def _accept(self, suffix: str) -> None:
        """Take a file as it is."""
        try:
            status = os.stat(self._paths[suffix])  # noqa: PTH116  as above
        except FileNotFoundError:
            self._known[suffix] = None
            return
        self._known[suffix] = _Known((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)
        if suffix == "-wal":
            if self._wal < 0:
                self._wal = os.open(self._paths[suffix], os.O_RDONLY | os.O_CLOEXEC)
            self._remember_wal(status.st_size)

    def _is_wal_cut(self) -> bool:
        """Return whether there are holes where the write-ahead log had its header and its last frame.

        SQLite may have written others there: it begins the file again when all of it is checkpointed.
        """
        offset, length = self._last_frame
        if not length:
            return False
        header = os.pread(self._wal, _WAL_HEADER_BYTES, 0)
        return not any(header) or not any(os.pread(self._wal, length, offset))

    def _remember_wal(self, size: int) -> None:
        known = self._known["-wal"]
        if known is not None and known.size != size:
            self._known["-wal"] = _Known(known.inode, size, 0)
        self.wal_bytes = size
        frames = (size - _WAL_HEADER_BYTES) // self._frame_bytes
        offset = _WAL_HEADER_BYTES + (frames - 1) * self._frame_bytes
        self._last_frame = (offset, _FRAME_HEADER_BYTES) if frames > 0 else (0, 0)

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
