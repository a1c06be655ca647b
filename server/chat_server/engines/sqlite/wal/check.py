"""Compares a write-ahead log with what SQLite has committed to it.

SQLite keeps the number of committed frames and their salts in the shared memory (`-shm`), and reads frames
without checking them again. So if another program cuts the `-wal` off, SQLite writes behind the hole, and a
checkpoint copies zeros into the data file. The layouts are those of sqlite.org/fileformat.html (4.1) and
sqlite.org/walformat.html (2.1).
"""

import os
import struct
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24

CHUNK_BYTES: Final = 1024 * 1024
"""Bytes that are read at once."""

RESCAN_BYTES: Final = 64 * 1024 * 1024
"""Frames that are not checkpointed yet are read again before each checkpoint, up to these bytes of them."""

READ_PATIENCE_S: Final = 1.0
"""Seconds to wait for a writing thread that is between the two copies of the header in the shared memory."""

_SHM_BYTES: Final = 100
_SHM_HEADER: Final = struct.Struct("=12x?xHI12x8s8x")  # of which there are two copies
_SHM_BACKFILL: Final = struct.Struct("=I")
_MASK: Final = 0xFFFFFFFF


class Committed(NamedTuple):
    """What has been committed since the write-ahead log was last begun again.

    `copied`: the number of frames that a checkpoint has copied into the data file.
    """

    frames: int
    salts: bytes
    page_bytes: int
    copied: int


_NOTHING: Final = Committed(0, b"", 0, 0)


class WalCheck:
    """Checks one write-ahead log again and again, each time what is new in it. For one thread.

    Noticed are frames that are missing, are of another log, or have been overwritten with their headers; and
    a page whose end is missing. A change within a page is not.
    """

    def __init__(self, data: Path) -> None:
        self._wal_path = f"{data}-wal"
        self._shm_path = f"{data}-shm"
        self._wal = self._shm = -1
        self._checked = 0  # frames of the log with these salts
        self._salts = b""

    def close(self) -> None:
        """Close the files. No connection to the data file MAY be open in this process any more.

        SQLite has POSIX locks on the `-shm`: closing any descriptor of it drops them.
        """
        for descriptor in (self._wal, self._shm):
            if descriptor >= 0:
                os.close(descriptor)
        self._wal = self._shm = -1

    def sync(self) -> None:
        """Write the write-ahead log through to the disk. Raises `OSError`."""
        if self.open():
            os.fdatasync(self._wal)

    def is_whole(self) -> bool:
        """Return whether all frames are there that were committed. Looks at those that are new, and the last.

        It is enough for a file that was cut off, whatever was written to it since: the hole reaches as far as
        the end of what was committed then. Looks at nothing while another thread is committing.
        """
        return self._has_new() is not False

    def is_ready_for_checkpoint(self) -> bool | None:
        """Return whether all frames are there that a checkpoint would copy; may wait for another thread.

        None if that one does not end its commit.
        """
        if not self.open():
            return True
        deadline = time.monotonic() + READ_PATIENCE_S
        while (whole := self._has_uncopied()) is None and time.monotonic() < deadline:
            time.sleep(0.001)
        return whole

    def is_older_than_data(self) -> bool:
        """Return whether frames are missing that were copied into the data file, but not those before.

        For files that nobody uses.
        """
        committed = self._committed() if self.open() else None
        if committed is None or not committed.copied:
            return False
        if os.pread(self._wal, HEADER_BYTES, 0)[16:24] != committed.salts:
            return False  # without its header, or with that of another log: its frames do not count
        return not self._is_intact(committed._replace(frames=committed.copied), 0)

    def _has_new(self) -> bool | None:
        """Return whether the new frames and the one before are there; None while another thread commits."""
        committed = self._committed()
        if committed is None:
            return None
        self._note_salts(committed)
        return self._is_still_intact(committed, max(self._checked - 1, 0))

    def _has_uncopied(self) -> bool | None:
        """Return whether the frames are there that are not in the data file yet; None as above."""
        committed = self._committed()
        if committed is None:
            return None
        self._note_salts(committed)
        rescanned = RESCAN_BYTES // (FRAME_HEADER_BYTES + committed.page_bytes)
        begin = min(self._checked - 1, committed.frames - rescanned)
        return self._is_still_intact(committed, max(begin, committed.copied))

    def _note_salts(self, committed: Committed) -> None:
        if committed.salts != self._salts:
            self._salts, self._checked = committed.salts, 0

    def _is_still_intact(self, committed: Committed, begin: int) -> bool | None:
        """Return `_is_intact`; None if another thread has begun the log again meanwhile."""
        if self._is_intact(committed, begin):
            self._checked = committed.frames
            return True
        again = self._committed()
        return False if again is not None and again.salts == committed.salts else None

    def _is_intact(self, committed: Committed, begin: int) -> bool:
        """Return whether the header is there, and the frames from the number `begin` (from 0) on."""
        frames, salts, page_bytes, _ = committed
        if begin >= frames:
            return True
        if os.pread(self._wal, HEADER_BYTES, 0)[16:24] != salts:
            return False
        size = FRAME_HEADER_BYTES + page_bytes
        while begin < frames:
            count = min(frames - begin, max(CHUNK_BYTES // size, 1))
            data = os.pread(self._wal, count * size, HEADER_BYTES + begin * size)
            if len(data) < count * size:
                return False
            if data[8:16] != salts or (count > 1 and _salts_differ(data, salts, size)):
                return False
            # Of a page that was cut off the end is zero, since a hole ends where a frame begins.
            ends = data[size - 1 :: size]
            at = ends.find(0)
            while at >= 0:
                if not self._is_checksum_right(begin + at, data[at * size : (at + 1) * size]):
                    return False
                at = ends.find(0, at + 1)
            begin += count
        return True

    def _is_checksum_right(self, number: int, frame: bytes) -> bool:
        """Return whether a frame's checksum matches, which continues the one of the frame before it."""
        previous = HEADER_BYTES - 8 if not number else HEADER_BYTES + (number - 1) * len(frame) + 16
        start = os.pread(self._wal, 8, previous)
        big_endian = os.pread(self._wal, 4, 0)[3:] == b"\x83"
        if len(start) < 8:
            return False
        content = frame[:8] + frame[FRAME_HEADER_BYTES:]
        return _checksum(content, *struct.unpack(">II", start), big_endian=big_endian) == struct.unpack(
            ">II", frame[16:24]
        )

    def open(self) -> bool:
        """Return whether there are files: SQLite makes them with the first transaction."""
        with suppress(FileNotFoundError):
            if self._wal < 0:
                self._wal = os.open(self._wal_path, os.O_RDONLY | os.O_CLOEXEC)
            if self._shm < 0:
                self._shm = os.open(self._shm_path, os.O_RDONLY | os.O_CLOEXEC)
        return self._shm >= 0

    def _committed(self) -> Committed | None:
        """Return what is committed; None while another thread commits."""
        if self._shm < 0 and not self.open():
            return _NOTHING
        data = os.pread(self._shm, _SHM_BYTES, 0)
        size = _SHM_HEADER.size
        if len(data) < _SHM_BYTES:
            return _NOTHING
        if data[:size] != data[size : 2 * size]:
            return None
        valid, page_bytes, frames, salts = _SHM_HEADER.unpack_from(data)
        if not valid:  # SQLite reads the write-ahead log again, and compares its checksums
            return _NOTHING
        (copied,) = _SHM_BACKFILL.unpack_from(data, 2 * size)
        return Committed(frames, salts, page_bytes & 0xFE00 | (page_bytes & 1) << 16, copied)


def _salts_differ(data: bytes, salts: bytes, size: int) -> bool:
    """Return whether a frame of `size` bytes each has other salts."""
    count = len(data) // size
    return any(data[8 + at :: size].count(salts[at]) != count for at in range(8))


def _checksum(content: bytes, one: int, two: int, *, big_endian: bool) -> tuple[int, int]:
    """Return the checksum of a write-ahead log (sqlite.org/fileformat.html, 4.2), continued by `content`."""
    pairs = (len(content.rstrip(b"\0")) + 7) // 8  # the zeros that follow are a multiplication
    for first, second in struct.iter_unpack(">II" if big_endian else "<II", content[: pairs * 8]):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    a, b, c, d = _zeros(len(content) // 8 - pairs)
    return (a * one + b * two) & _MASK, (c * one + d * two) & _MASK


@cache
def _zeros(pairs: int) -> tuple[int, int, int, int]:
    """Return the matrix that continues a checksum by so many pairs of zero words."""
    a, b, c, d = 1, 0, 0, 1
    for _ in range(pairs):
        a, b, c, d = (a + c) & _MASK, (b + d) & _MASK, (a + 2 * c) & _MASK, (b + 2 * d) & _MASK
    return a, b, c, d
