"""The mark: a small file beside the log that outlives the process, though not the power.

It holds how far the log had come. It is written through a shared memory mapping, so it costs no system call
and survives a killed process. A log that is behind its mark has lost its tail (power was lost, or a backup
was restored), so that seqs may be given out anew: that is what `epoch` is for.
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
    """Return what tells one start of the machine from another, empty where there is no such thing."""
    with contextlib.suppress(OSError):  # not Linux: only the comparison with the log is left
        return _BOOT_ID.read_text().strip()
    return ""


class TailGuard:
    """What was true when the log was last written to."""

    def __init__(self, path: Path, log: Path) -> None:
        self._log = log
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != _FILE_BYTES:
                os.truncate(descriptor, 0)
                # Written, not only sized: a page that a full disk cannot back kills a process (SIGBUS).
                os.pwrite(descriptor, bytes(_FILE_BYTES), 0)
            self._map = mmap.mmap(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)

    def matches(self, last_id: int, epoch: str) -> bool:
        """Tell whether the log, ending at `last_id`, is the one that was marked, and whole.

        If the machine started anew without a clean stop before, the tail may be lost, unless the log was
        synced at each commit.
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
        """Mark the log as being written to, `synced` at each commit or not."""
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
        """Note how far the log has come."""
        _LAST_ID_LAYOUT.pack_into(self._map, len(_MAGIC), last_id)

    def close(self, *, clean: bool) -> None:
        """Note whether everything is on the disk, and let go."""
        _CLEAN_LAYOUT.pack_into(self._map, len(_MAGIC) + 3 * 8, clean)
        self._map.flush()
        self._map.close()


_LAST_ID_LAYOUT: Final = struct.Struct("<Q")
_CLEAN_LAYOUT: Final = struct.Struct("<?")
