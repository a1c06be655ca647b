"""Copies of log files without overlong lines, for DuckDB, which reads no file that has one.

After a loss of power a file may end in a long run of NUL bytes, and the next start of the server writes
behind it. In the copy, such a run is a bad line of its own; any other line that is too long is replaced by a
marker.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from chat_ops.log.errors import UsageError
from chat_ops.log.input_files import InputFile, open_decompressed
from chat_ops.log.temporary_folder import TemporaryFolder

_READ_BYTES: Final = 1 << 20
_NUL: Final = b"\0"
_NUL_RUN: Final = "NUL bytes"
_TOO_LONG: Final = "too long"
_MARKER: Final = re.compile(rb"\0(\d+) (NUL bytes|too long)")
"""Begins with a NUL, so that it is no log line."""


def shortened_copies(sources: Sequence[InputFile], limit: int, folder: TemporaryFolder) -> list[InputFile]:
    """Return the files, those that have a line over `limit` bytes (with its end) as copies without.

    Takes memory for one line. Raises `UsageError` if a copy cannot be made.
    """
    found = []
    for number, source in enumerate(sources):
        with open_decompressed(source) as file:
            if file is not None and not _has_long_line(file, limit):
                found.append(source)
                continue
        copy = folder.path(f"as {source.name} has a line over {limit >> 20} MiB") / f"shortened-{number}"
        with open_decompressed(source) as file:
            if file is None:
                raise UsageError(
                    f"{source.name} has a line over {limit >> 20} MiB, and the program zstd is not installed:"
                    " decompress it first"
                )
            try:
                _write(copy, _shortened(file, limit), source, folder)
            except (EOFError, zlib.error) as error:
                raise UsageError(f"cannot decompress {source.name}: {error}") from None
        found.append(replace(source, path=str(copy), compression="none"))
    return found


def parse_marker(line: bytes) -> tuple[int, str] | None:
    """Return the length of the line that a marker replaces, and what is wrong with it; None if it is none."""
    marker = _MARKER.fullmatch(line)
    return None if marker is None else (int(marker[1]), marker[2].decode())


def _marker(length: int, what: str) -> bytes:
    return b"%s%d %s\n" % (_NUL, length, what.encode())


def _has_long_line(file: BinaryIO, limit: int) -> bool:
    length = 0
    while data := file.read(min(_READ_BYTES, limit)):
        first = data.find(b"\n")
        length += len(data) if first < 0 else first + 1
        if length > limit:
            return True
        if first >= 0:  # the lines inside the chunk are not longer than it
            length = len(data) - 1 - data.rfind(b"\n")
    return False


def _shortened(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the file's bytes, with markers for NULs at the start of a line and for lines over `limit`."""
    nuls = 0  # at the start of the line
    line = bytearray()  # what follows them
    length = 0  # bytes of the line in `line`, or dropped
    while data := file.read(_READ_BYTES):
        for part in _split(data):
            text = part
            if not length:
                text = part.lstrip(_NUL)
                nuls += len(part) - len(text)
            length += len(text)
            if length <= limit:
                line += text
            else:
                line.clear()
            if part.endswith(b"\n"):
                yield from _line(nuls, line, length)
                nuls, length = 0, 0
                line = bytearray()
    yield from _line(nuls, line, length)


def _split(data: bytes) -> list[bytes]:
    *lines, last = data.split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]


def _line(nuls: int, line: bytearray, length: int) -> Iterator[bytes]:
    if nuls:
        yield _marker(nuls, _NUL_RUN)
        if line == b"\n":
            return
    if length > len(line):
        yield _marker(length, _TOO_LONG)
    else:
        yield bytes(line)


def _write(copy: Path, parts: Iterator[bytes], source: InputFile, folder: TemporaryFolder) -> None:
    try:
        with copy.open("xb") as written:
            written.writelines(parts)
    except OSError as error:
        raise folder.copy_failed(source.name, error) from None
