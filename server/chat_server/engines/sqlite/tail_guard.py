"""Detects a log that has lost its tail, by a small file beside it with the id of the last row.

The file is written once a batch, without a sync: that survives a killed process, but not a power loss. (A
shared memory mapping would save the system call, but if somebody cut the file off, the next write to it would
kill the process.) A log that ends before the recorded id has lost its tail (power loss, or a restored
backup), so its seqs may be issued a second time; it gets a new `epoch`.
"""

import contextlib
import os
import secrets
import sqlite3
import struct
from pathlib import Path
from typing import Final

from chat_server.engines.sqlite.connect import transaction

_LAYOUT: Final = struct.Struct("<8sQQQ??36s16s")
_MAGIC: Final = b"GRmark02"
_FILE_BYTES: Final = 4096
_ID_OFFSET: Final = 8
_CLEAN_OFFSET: Final = 32
_pack_id = struct.Struct("<Q").pack
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the id of the current boot of the machine, empty if the system has none."""
    with contextlib.suppress(OSError):  # not Linux: only the log itself can be compared
        return _BOOT_ID.read_text().strip()
    return ""


class TailGuard:
    """The state of the log at its last write: last row, epoch, file and boot id."""

    def __init__(self, path: Path, log: Path) -> None:
        self._log = log
        self.clean = False
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(self._descriptor).st_size != _FILE_BYTES:
                os.truncate(self._descriptor, 0)
                os.pwrite(self._descriptor, bytes(_FILE_BYTES), 0)  # so that later writes need no disk space
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_same_file(self) -> bool:
        """Return whether the log is the recorded file, and not a copy of it."""
        magic, _, device, inode, *_ = self._record()
        status = self._log.stat()
        return magic == _MAGIC and (device, inode) == (status.st_dev, status.st_ino)

    def matches(self, last_id: int, epoch: str) -> bool:
        """Return whether the log, ending at `last_id`, is the recorded one and complete.

        After a reboot without a clean stop the tail may be lost, unless the log was synced at each commit.
        """
        _, marked_id, _, _, clean, synced, boot, marked_epoch = self._record()
        same_boot = boot.rstrip(b"\0") == boot_id().encode()
        return (
            self.is_same_file()
            and marked_epoch.rstrip(b"\0") == epoch.encode()
            and last_id >= marked_id
            and (same_boot or clean or synced)
        )

    def _record(self) -> tuple[bytes, int, int, int, bool, bool, bytes, bytes]:
        found: tuple[bytes, int, int, int, bool, bool, bytes, bytes] = _LAYOUT.unpack(
            os.pread(self._descriptor, _LAYOUT.size, 0)
        )
        return found

    def mark_in_use(self, last_id: int, epoch: str, *, synced: bool) -> None:
        """Record the log as in use; `synced` says whether it is synced at each commit."""
        status = self._log.stat()
        record = _LAYOUT.pack(
            _MAGIC,
            last_id,
            status.st_dev,
            status.st_ino,
            False,
            synced,
            boot_id().encode(),
            epoch.encode(),
        )
        os.pwrite(self._descriptor, record, 0)

    def advance(self, last_id: int) -> None:
        """Record the id of the last row. Raises `OSError`."""
        os.pwrite(self._descriptor, _pack_id(last_id), _ID_OFFSET)

    def close(self) -> None:
        """Record whether everything is synced (`clean`), and close the file. Raises `OSError`."""
        try:
            os.pwrite(self._descriptor, bytes((self.clean,)), _CLEAN_OFFSET)
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def begin_epoch(
    connection: sqlite3.Connection, guard: TailGuard, last_id: int, *, synced: bool, tail_lost: bool
) -> tuple[str, bool]:
    """Return the epoch, and whether it replaces an earlier one because the log has lost its tail.

    `tail_lost`: known otherwise. Then no session can be resumed, so no name must be held.
    """
    row = connection.execute("SELECT CAST(value AS BLOB) FROM meta WHERE key = 'epoch'").fetchone()
    epoch: str = row[0].decode(errors="replace") if row else ""  # a damaged one matches no mark
    changed = False
    if tail_lost or not epoch or not guard.matches(last_id, epoch):
        changed = bool(epoch)
        epoch = secrets.token_hex(8)
        with transaction(connection):
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (epoch,))
            connection.execute("DELETE FROM sessions")
    guard.mark_in_use(last_id, epoch, synced=synced)
    return epoch, changed
