"""The end of a file that grows, is moved away and made anew, or is cut to nothing: its lines, each once.

Knows files and bytes. Must not know what a line says. Costs what is new, and memory for one line.

- Renamed, another made (logrotate's default): the old one is read on for a while, as the server may still
  write to it until it is told; then the new one from its beginning. That the old one is packed or removed
  does not matter.
- Copied and cut (`copytruncate`): it is shorter, or begins differently: it is read from its beginning.
- Not there (yet): it is looked for each time.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

BACKLOG_BYTES: Final = 4 << 20
"""Bytes of an old log that are read at the start, so that there is something to see: some minutes of it."""
MAX_LINE_BYTES: Final = 4 << 20
"""Bytes: the longest that the server writes, an interval with all histograms full, has about a tenth."""
ROTATED_FILE_GRACE_S: Final = 15.0
"""Seconds for which a file that was moved away is read on."""
_CHUNK_BYTES: Final = 1 << 18
_HEAD_BYTES: Final = 128
"""Bytes by which a file is known again: a line begins with its time, to the microsecond."""


class _OpenFile:
    """An open file, how far it has been read, and the line that is not whole yet."""

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
        self._skipping = offset > 0  # what is left of the line that the offset is in
        self.head = os.pread(self.descriptor, _HEAD_BYTES, 0)

    def lines(self) -> Iterator[bytes]:
        """Return the lines that have become whole."""
        if self._was_truncated():
            self.lost += bool(self.partial)
            self._restart_at(0)
        while data := os.pread(self.descriptor, _CHUNK_BYTES, self.offset):
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
    """Follows the file that has this name; a context manager is not needed: `close` it."""

    ended = False
    """A file may always grow."""

    def __init__(
        self, path: Path, backlog_bytes: int = BACKLOG_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self.trouble = ""
        """Why there is nothing to read, if so."""
        self._clock = clock
        self._backlog_bytes: int | None = backlog_bytes
        self._current: _OpenFile | None = None
        self._rotated: tuple[_OpenFile, float] | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Lines that were cut away before they were whole, or were too long."""
        files = [self._current, self._rotated[0] if self._rotated else None]
        return self._lost + sum(file.lost for file in files if file)

    def lines(self) -> Iterator[bytes]:
        """Return the lines that have come since the last call, without their newlines."""
        self._reopen_if_replaced()
        if self._rotated is not None:
            old, until = self._rotated
            yield from old.lines()
            if self._clock() >= until:
                self._close_rotated()
        if self._current is not None:
            yield from self._current.lines()

    def close(self) -> None:
        """Read no more."""
        self._close_rotated()
        if self._current is not None:
            self._current.close()
            self._current = None

    def _reopen_if_replaced(self) -> None:
        """See whether the name leads to another file by now."""
        try:
            status = self.path.stat()
            if self._current is not None and self._current.key == (status.st_dev, status.st_ino):
                return
            new = _OpenFile(self.path, self._backlog_bytes)
        except OSError as error:
            # While it is moved away and none made, the old one may still grow.
            self.trouble = "" if self._current is not None else error.strerror or str(error)
            return
        self.trouble = ""
        self._backlog_bytes = None  # of a file that comes later, all is new
        if self._current is not None:
            self._close_rotated()
            self._rotated = self._current, self._clock() + ROTATED_FILE_GRACE_S
        self._current = new

    def _close_rotated(self) -> None:
        if self._rotated is not None:
            self._lost += self._rotated[0].lost + bool(self._rotated[0].partial)
            self._rotated[0].close()
            self._rotated = None
