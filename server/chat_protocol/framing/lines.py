"""A bounded line buffer that looks at each byte once.

Knows bytes and newlines. Must not know what a line means.
"""

from typing import Final

MAX_FRAME: Final = 65_536
"""Bytes in a line or object from a client, its newline not counted."""


class LineBuffer:
    """Cuts a stream of bytes into lines of at most `limit` bytes."""

    __slots__ = ("_held", "limit", "overflowed")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._held: bytearray | None = (
            None  # made only for a line that comes in pieces: idle sessions pay nothing
        )
        self.limit = limit
        self.overflowed = False

    def feed(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n` or `\r\n`.

        A line over the limit sets `overflowed`; lines before it are still returned, nothing is after it.
        """
        if self.overflowed:
            return []
        newline = data.find(b"\n")
        if newline < 0:
            self._hold(data)
            return []
        if newline == len(data) - 1 <= self.limit and self._held is None and data[-2:] != b"\r\n":
            return [data[:-1]]  # one whole line, as most reads bring
        lines = data.split(b"\n")
        if self._held is not None:
            self._held += lines[0]
            lines[0] = bytes(self._held)
            self._held = None
        rest = lines.pop()
        if len(lines[0]) + len(data) > self.limit:
            for index, line in enumerate(lines):
                if len(line) > self.limit + line.endswith(b"\r"):
                    self.overflowed = True
                    del lines[index:]
                    rest = b""
                    break
        if rest:
            self._hold(rest)
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def end(self) -> bytes:
        """Take the unfinished last line at the end of input (empty if there is none)."""
        rest = b"" if self._held is None else bytes(self._held).removesuffix(b"\r")
        self._held = None
        return rest

    def _hold(self, data: bytes) -> None:
        if self._held is None:
            self._held = bytearray()
        self._held += data
        size = len(self._held)
        if size > self.limit and size > self.limit + self._held.endswith(b"\r"):  # \r may begin a \r\n
            self.overflowed = True
            self._held = None
