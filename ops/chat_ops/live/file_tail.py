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

MOST_BACK: Final = 4 << 20
"""Bytes of an old log that are read at the start, so that there is something to see: some minutes of it."""
LONGEST_LINE: Final = 4 << 20
"""Bytes: the longest that the server writes, an interval with all histograms full, has about a tenth."""
GRACE: Final = 15.0
"""Seconds for which a file that was moved away is read on."""
_CHUNK: Final = 1 << 18
_HEAD: Final = 128
"""Bytes by which a file is known again: a line begins with its time, to the microsecond."""


class _File:
    """An open file, how far it has been read, and the line that is not whole yet."""

    def __init__(self, path: Path, back: int | None) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self.descriptor)
        self.key = status.st_dev, status.st_ino
        self.head = b""
        self.lost = 0
        self._begin(max(0, status.st_size - back) if back is not None else 0)

    def _begin(self, offset: int) -> None:
        self.offset = offset
        self.partial = b""
        self._skipping = offset > 0  # what is left of the line that the offset is in
        self.head = os.pread(self.descriptor, _HEAD, 0)

    def lines(self) -> Iterator[bytes]:
        """Return the lines that have become whole."""
        if self._cut():
            self.lost += bool(self.partial)
            self._begin(0)
        while data := os.pread(self.descriptor, _CHUNK, self.offset):
            if len(self.head) < _HEAD:
                self.head = os.pread(self.descriptor, _HEAD, 0)
            self.offset += len(data)
            *lines, self.partial = (
                (self.partial + data).split(b"\n") if b"\n" in data else [self.partial + data]
            )
            for line in lines:
                if self._skipping:
                    self._skipping = False
                else:
                    yield line
            if len(self.partial) > LONGEST_LINE:
                self.lost += not self._skipping
                self.partial, self._skipping = b"", True

    def _cut(self) -> bool:
        if os.fstat(self.descriptor).st_size < self.offset:
            return True
        return not os.pread(self.descriptor, _HEAD, 0).startswith(self.head)

    def close(self) -> None:
        os.close(self.descriptor)


class Tail:
    """Follows the file that has this name; a context manager is not needed: `close` it."""

    ended = False
    """A file may always grow."""

    def __init__(
        self, path: Path, back: int = MOST_BACK, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self.trouble = ""
        """Why there is nothing to read, if so."""
        self._clock = clock
        self._back: int | None = back
        self._now: _File | None = None
        self._old: tuple[_File, float] | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Lines that were cut away before they were whole, or were too long."""
        files = [self._now, self._old[0] if self._old else None]
        return self._lost + sum(file.lost for file in files if file)

    def lines(self) -> Iterator[bytes]:
        """Return the lines that have come since the last call, without their newlines."""
        self._look()
        if self._old is not None:
            old, until = self._old
            yield from old.lines()
            if self._clock() >= until:
                self._forget_old()
        if self._now is not None:
            yield from self._now.lines()

    def close(self) -> None:
        """Read no more."""
        self._forget_old()
        if self._now is not None:
            self._now.close()
            self._now = None

    def _look(self) -> None:
        """See whether the name leads to another file by now."""
        try:
            status = self.path.stat()
            if self._now is not None and self._now.key == (status.st_dev, status.st_ino):
                return
            new = _File(self.path, self._back)
        except OSError as error:
            # While it is moved away and none made, the old one may still grow.
            self.trouble = "" if self._now is not None else error.strerror or str(error)
            return
        self.trouble = ""
        self._back = None  # of a file that comes later, all is new
        if self._now is not None:
            self._forget_old()
            self._old = self._now, self._clock() + GRACE
        self._now = new

    def _forget_old(self) -> None:
        if self._old is not None:
            self._lost += self._old[0].lost + bool(self._old[0].partial)
            self._old[0].close()
            self._old = None
