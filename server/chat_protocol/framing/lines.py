"""A bounded line buffer; each byte is scanned once."""

from typing import Final

MAX_FRAME_BYTES: Final = 65_536
"""Limit for a line or JSON object from a client, its line end not counted."""


class LineBuffer:
    """Cuts a byte stream into lines of at most `limit` bytes."""

    __slots__ = ("_buffer", "limit", "overflowed")

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self._buffer: bytearray | None = None  # for lines in pieces only: idle sessions need none
        self.limit = limit
        self.overflowed = False

    def feed(self, data: bytes) -> list[bytes]:
        r"""Return the lines that `data` completes, without their `\n` or `\r\n`.

        A line over the limit sets `overflowed`: the lines before it are returned, and nothing after it.
        """
        if self.overflowed:
            return []
        newline = data.find(b"\n")
        if newline < 0:
            self._append_partial(data)
            return []
        if newline == len(data) - 1 <= self.limit and self._buffer is None and data[-2:] != b"\r\n":
            return [data[:-1]]  # one whole line, as most reads bring
        lines = data.split(b"\n")
        if self._buffer is not None:
            self._buffer += lines[0]
            lines[0] = bytes(self._buffer)
            self._buffer = None
        rest = lines.pop()
        if len(lines[0]) + len(data) > self.limit:
            for index, line in enumerate(lines):
                if len(line) > self.limit + line.endswith(b"\r"):
                    self.overflowed = True
                    del lines[index:]
                    rest = b""
                    break
        if rest:
            self._append_partial(rest)
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]

    def take_unfinished(self) -> bytes:
        """Return and clear a last line without newline, at the end of input; empty if there is none."""
        rest = b"" if self._buffer is None else bytes(self._buffer).removesuffix(b"\r")
        self._buffer = None
        return rest

    def _append_partial(self, data: bytes) -> None:
        if self._buffer is None:
            self._buffer = bytearray()
        self._buffer += data
        size = len(self._buffer)
        if size > self.limit and size > self.limit + self._buffer.endswith(b"\r"):  # \r may begin a \r\n
            self.overflowed = True
            self._buffer = None
