"""Follows a growing file through log rotation, like `tail -F`; yields each line once.

Takes time for the new bytes only, and memory for one line.

- Renamed and created again (logrotate's default): the old file is read on for a while, as the server may
  still write to it until it reopens its log; the new one is read from its beginning. Compressing or deleting
  the old file does no harm.
- Copied and truncated (`copytruncate`): if it is shorter or begins differently, it is read from its start.
- Missing: it is looked for at each call.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

BACKLOG_BYTES: Final = 4 << 20
"""Bytes of the existing log that are read at the start (some minutes), so that the screen is not empty."""
MAX_LINE_BYTES: Final = 4 << 20
"""Longer lines are skipped. The server's longest, an interval with full histograms, has about a tenth."""
ROTATED_FILE_GRACE_S: Final = 15.0
"""Seconds for which a renamed file is read on."""
_READ_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 128
"""First bytes that identify a file: a line begins with its time, to the microsecond."""


class _OpenFile:
    """An open file, the offset read so far, and the incomplete last line."""

    def __init__(self, path: Path, backlog_bytes: int | None) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self.descriptor)
        self.key = status.st_dev, status.st_ino
        self.head = b""
        self.lost = 0
        self._restart_at(max(0, status.st_size - backlog_bytes) if backlog_bytes is not None else 0)

    def _restart_at(self, offset: int) -> None:
        self.offset = offset
        self.partial = b""
        self._skipping = offset > 0  # rest of the line that the offset is in
        self.head = os.pread(self.descriptor, _HEAD_BYTES, 0)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines completed since the last call."""
        if self._was_truncated():
            self.lost += bool(self.partial)
            self._restart_at(0)
        while data := os.pread(self.descriptor, _READ_BYTES, self.offset):
            if len(self.head) < _HEAD_BYTES:
                self.head = os.pread(self.descriptor, _HEAD_BYTES, 0)
            self.offset += len(data)
            *lines, self.partial = (
                (self.partial + data).split(b"\n") if b"\n" in data else [self.partial + data]
            )
            for line in lines:
                if self._skipping:
                    self._skipping = False
                else:
                    yield line
            if len(self.partial) > MAX_LINE_BYTES:
                self.lost += not self._skipping
                self.partial, self._skipping = b"", True

    def _was_truncated(self) -> bool:
        if os.fstat(self.descriptor).st_size < self.offset:
            return True
        return not os.pread(self.descriptor, _HEAD_BYTES, 0).startswith(self.head)

    def close(self) -> None:
        os.close(self.descriptor)


class FileTail:
    """Follows the file at `path`; call `close` at the end. `clock` returns monotonic seconds."""

    ended = False
    """Always false: a file may grow at any time."""

    def __init__(
        self, path: Path, backlog_bytes: int = BACKLOG_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self.trouble = ""
        """Why the file cannot be read; empty if it can."""
        self._clock = clock
        self._backlog_bytes: int | None = backlog_bytes
        self._current: _OpenFile | None = None
        self._rotated: tuple[_OpenFile, float] | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Number of lines lost: truncated while incomplete, or too long."""
        files = [self._current, self._rotated[0] if self._rotated else None]
        return self._lost + sum(file.lost for file in files if file)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines added since the last call, without newlines."""
        self._reopen_if_replaced()
        if self._rotated is not None:
            old, until = self._rotated
            yield from old.lines()
            if self._clock() >= until:
                self._close_rotated()
        if self._current is not None:
            yield from self._current.lines()

    def close(self) -> None:
        """Close all files."""
        self._close_rotated()
        if self._current is not None:
            self._current.close()
            self._current = None

    def _reopen_if_replaced(self) -> None:
        """Open the file at `path` if it is another one than before."""
        try:
            status = self.path.stat()
            if self._current is not None and self._current.key == (status.st_dev, status.st_ino):
                return
            new = _OpenFile(self.path, self._backlog_bytes)
        except OSError as error:
            # Between rename and creation, the old file may still grow.
            self.trouble = "" if self._current is not None else error.strerror or str(error)
            return
        self.trouble = ""
        self._backlog_bytes = None  # a later file is read from its beginning
        if self._current is not None:
            self._close_rotated()
            self._rotated = self._current, self._clock() + ROTATED_FILE_GRACE_S
        self._current = new

    def _close_rotated(self) -> None:
        if self._rotated is not None:
            self._lost += self._rotated[0].lost + bool(self._rotated[0].partial)
            self._rotated[0].close()
            self._rotated = None
