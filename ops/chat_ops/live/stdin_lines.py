"""Lines of standard input as they arrive: `chat-server | chat-logs follow -`."""

import os
import select
from collections.abc import Iterator

from chat_ops.live.file_tail import MAX_LINE_BYTES

_READ_BYTES = 1 << 16


class StdinLines:
    """Reads lines from a pipe without blocking, until it ends."""

    def __init__(self, descriptor: int = 0) -> None:
        self.ended = False
        self.lost = 0
        """Number of lines lost: too long, or without a newline at the end."""
        self.trouble = ""
        self._descriptor = descriptor
        self._partial = b""
        self._skipping = False

    def lines(self) -> Iterator[bytes]:
        """Yield the lines received since the last call, without newlines."""
        while not self.ended and select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, _READ_BYTES)
            if not data:
                self.ended = True
                self.lost += bool(self._partial)
                return
            *lines, self._partial = (
                (self._partial + data).split(b"\n") if b"\n" in data else [self._partial + data]
            )
            for line in lines:
                if self._skipping:
                    self._skipping = False
                else:
                    yield line
            if len(self._partial) > MAX_LINE_BYTES:
                self.lost += not self._skipping
                self._partial, self._skipping = b"", True

    def close(self) -> None:
        """Do nothing: the descriptor belongs to its opener."""
