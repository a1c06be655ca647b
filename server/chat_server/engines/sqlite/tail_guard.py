"""Detects a log that has lost its tail, by a small file beside it with the id of the last row.

The file is written through a shared memory mapping: that costs no system call and survives a killed process,
but not a power loss. A log that ends before the recorded id has lost its tail (power loss, or a restored
backup), so its seqs may be issued a second time; it gets a new `epoch`.
"""

import contextlib
import mmap
import os
import struct
from pathlib import Path
from typing import Final

_LAYOUT: Final = struct.Struct("<8sQQQ??36s16s")
_MAGIC: Final = b"GRmark02"
_FILE_BYTES: Final = 4096
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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != _FILE_BYTES:
                os.truncate(descriptor, 0)
                # Written, not only sized: a write to a page without disk space behind it is a SIGBUS.
                os.pwrite(descriptor, bytes(_FILE_BYTES), 0)
            self._map = mmap.mmap(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)

    def matches(self, last_id: int, epoch: str) -> bool:
        """Return whether the log, ending at `last_id`, is the recorded one and complete.

        After a reboot without a clean stop the tail may be lost, unless the log was synced at each commit.
        """
        magic, marked_id, device, inode, clean, synced, boot, marked_epoch = _LAYOUT.unpack_from(self._map)
        if magic != _MAGIC:
            return False
        status = self._log.stat()
        same_file = (device, inode) == (status.st_dev, status.st_ino)
        same_boot = boot.rstrip(b"\0").decode() == boot_id()
        return (
            same_file
            and marked_epoch.rstrip(b"\0").decode() == epoch
            and last_id >= marked_id
            and (same_boot or clean or synced)
        )

    def mark_in_use(self, last_id: int, epoch: str, *, synced: bool) -> None:
        """Record the log as in use; `synced` says whether it is synced at each commit."""
        status = self._log.stat()
        _LAYOUT.pack_into(
            self._map,
            0,
            _MAGIC,
            last_id,
            status.st_dev,
            status.st_ino,
            False,
            synced,
            boot_id().encode(),
            epoch.encode(),
        )

    def advance(self, last_id: int) -> None:
        """Record the id of the last row."""
        _LAST_ID_LAYOUT.pack_into(self._map, len(_MAGIC), last_id)

    def close(self, *, clean: bool) -> None:
        """Record whether everything is synced (`clean`), and close the file."""
        _CLEAN_LAYOUT.pack_into(self._map, len(_MAGIC) + 3 * 8, clean)
        self._map.flush()
        self._map.close()


_LAST_ID_LAYOUT: Final = struct.Struct("<Q")
_CLEAN_LAYOUT: Final = struct.Struct("<?")
