"""Lines of standard input as text, each with its number.

A line ends with LF, CR LF or CR: a progress display that rewrites its line is several lines. The input is
UTF-8; a byte order mark at its start is not part of the text.
"""

import sys
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

READ_BYTES: Final = 65_536
MAX_LINE_BYTES: Final = 1 << 20
"""Longer lines are cut here, so that input without line ends takes bounded memory. Each is many messages."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class InputError(Exception):
    """Raised if standard input cannot be read at all; the text is a sentence."""


class InputLine(NamedTuple):
    """A line that is not blank: its number, from 1, and its text or why it is none."""

    number: int
    text: str
    problem: str | None = None


def stdin_lines() -> Iterator[InputLine]:
    """Return the lines of standard input as they arrive, without blank ones.

    Raises `InputError`, at once or from the iteration.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed: give the message as an argument, or lines by a pipe")
    return _decoded(sys.stdin.buffer)


def _decoded(source: BinaryIO) -> Iterator[InputLine]:
    for index, (number, raw) in enumerate(_split_lines(source)):
        data = raw
        if index == 0:
            if raw.startswith(_UTF16_MARKS):
                raise InputError("standard input is UTF-16: convert it, as by iconv -f UTF-16 -t UTF-8")
            data = raw.removeprefix(_BYTE_ORDER_MARK)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            shown = data.decode(errors="backslashreplace")
            yield InputLine(number, shown, f"it is not UTF-8 text (the byte 0x{data[error.start]:02X})")
        else:
            if text.strip():
                yield InputLine(number, text)


def _split_lines(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of `source` without their ends, as soon as each is complete, with their numbers."""
    number = 1
    pieces: list[bytes] = []  # of the last line, which is incomplete
    size = 0
    after_cr = False  # a LF at the start of the next chunk belongs to the CR before it
    while True:
        try:
            data = source.read1(READ_BYTES)  # type: ignore[attr-defined]  # a BufferedReader
        except OSError as error:
            raise InputError(f"cannot read standard input: {error.strerror or error}") from None
        if not data:
            break
        if after_cr and data.startswith(b"\n"):
            data = data[1:]
        after_cr = data.endswith(b"\r")
        for line in data.splitlines(keepends=True):
            pieces.append(line)
            size += len(line)
            if line.endswith((b"\n", b"\r")):
                yield number, b"".join(pieces).rstrip(b"\r\n")
                number += 1
                pieces, size = [], 0
        if size > MAX_LINE_BYTES:
            line = b"".join(pieces)
            cut = _character_start(line, MAX_LINE_BYTES)
            yield number, line[:cut]
            pieces, size = [line[cut:]], len(line) - cut
    if pieces:
        yield number, b"".join(pieces)


def _character_start(data: bytes, at: int) -> int:
    """Return the last index up to `at` that is not inside a character of UTF-8."""
    for index in range(at, max(at - 4, 0), -1):
        if data[index] & 0xC0 != 0x80:  # no continuation byte
            return index
    return at
