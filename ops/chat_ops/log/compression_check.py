"""Integrity check of gzip (RFC 1952) and Zstandard (RFC 8878) files: truncated, corrupt, or trailing data.

DuckDB ignores gzip's checksums: a flipped bit gives other lines, often without a single bad one. It also
accepts a truncated zstd file. So every gzip file is decompressed a second time, beside DuckDB's first pass,
in threads that hold no lock. For 100 MB (835 MB decompressed; two idle cores) `summary` takes 18 % more time
(3.9 s instead of 3.3 s) and 22 % more CPU time. Checking only logs with bad lines would miss damage: of
twelve files with one flipped bit, five had no bad line. Of a zstd file only the frame lengths are checked,
which takes milliseconds; DuckDB compares its checksum, which the program `zstd` writes by default.
"""

import shlex
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

from chat_ops.log.errors import UsageError
from chat_ops.log.input_files import InputFile

_READ_BYTES: Final = 1 << 14
"""Compressed bytes per step; they decompress to a thousand times as much at most."""
_COMPRESSED_SUFFIXES: Final = (".gz", ".zst")
_ZSTD_MAGIC: Final = 0xFD2FB528
_SKIPPABLE_FRAME_MAGIC: Final = 0x184D2A50
"""Magic number of a skippable frame; its last four bits may be any."""
_RLE_BLOCK: Final = 1
"""Block type: one byte, repeated."""
_TRUNCATED: Final = "it is truncated"
_STILL_WRITTEN: Final = " (is it still being written?)"
_EMPTY: Final = "it is empty"
_TRAILING_DATA: Final = "it has trailing data"
_NO_HEADER: Final = "its header is missing"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BINARY_BYTES: Final = frozenset((*range(9), *range(14, 32)))
"""Bytes that no log line contains, because JSON escapes them."""


class CompressionCheck:
    """Checks compressed files in its own threads, while they are read."""

    def __init__(self, sources: Sequence[InputFile], threads: int) -> None:
        self._sources = sources
        self._threads = ThreadPoolExecutor(threads, "inspection")
        self._stop = threading.Event()
        self._found: list[tuple[InputFile, Future[str]]] | None = None

    def start(self) -> None:
        """Start the check; later calls do nothing."""
        if self._found is None:
            self._found = [
                (source, self._threads.submit(find_damage, source, self._stop)) for source in self._sources
            ]

    def raise_if_damaged(self) -> None:
        """Wait for the result. Raises `UsageError` if a file is damaged."""
        damaged = [(source, what) for source, found in self._found or () if (what := found.result())]
        if damaged:
            source, what = damaged[0]
            raise UsageError(damage_message(source, what, [other for other, _ in damaged[1:]]))

    def stop(self) -> None:
        """Stop the check and its threads."""
        self._stop.set()
        self._threads.shutdown()


def find_damage(source: InputFile, stop: threading.Event | None = None) -> str:
    """Return what is wrong with a file; empty if it is intact, not compressed, or cannot be opened."""
    path = Path(source.path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if source.compression == "none":
                return check_uncompressed(file) if source.name.endswith(_COMPRESSED_SUFFIXES) else ""
            return check_gzip(file, stop) if source.compression == "gzip" else check_zstd(file, size)
    except OSError:
        return ""  # reading it will report the error


def damage_message(source: InputFile, problem: str, others: Sequence[InputFile] = ()) -> str:
    """Return the error message for a damaged file, with the way out."""
    more = f" ({', '.join(other.name for other in others)} too)" if others else ""
    sentence = f"{source.name} is damaged{more}: {problem}. Nothing is reported;"
    if problem == _EMPTY:
        return f"{sentence} leave it out if it was empty"
    if problem == _NO_HEADER:
        return f"{sentence} leave it out, it cannot be decompressed"
    program = "zstdcat" if source.compression == "zstd" else "zcat"
    # A pipe cannot be read again by its name.
    rescue = f"{program} {shlex.quote(source.name)}" if Path(source.name).is_file() else f"… | {program}"
    return f"{sentence} to read what can be decompressed: {rescue} | chat-logs … -"


def check_uncompressed(file: BinaryIO) -> str:
    """Check a file whose name says compressed, but not its first bytes; it may be a plain log."""
    head = file.read(_READ_BYTES)
    if not head:
        return _EMPTY
    return _NO_HEADER if _BINARY_BYTES.intersection(head) else ""


def check_gzip(file: BinaryIO, stop: threading.Event | None = None) -> str:
    """Return what is wrong with a gzip file, found by decompressing it; empty if nothing."""
    lines = unpacked = members = 0  # lines in all; bytes of this member; complete members
    member = zlib.decompressobj(wbits=31)
    member_start = b""  # first bytes of this member
    while chunk := file.read(_READ_BYTES):
        if stop is not None and stop.is_set():
            return ""
        while chunk:
            member_start = (member_start + chunk[: len(_GZIP_MAGIC)])[: len(_GZIP_MAGIC)]
            try:
                data = member.decompress(chunk)
            except zlib.error as error:
                if members and not unpacked:
                    return _trailing_data(lines)
                if "data check" in str(error) or "length check" in str(error):
                    return f"its checksum is wrong, so any of its lines (about {lines:,}) may be corrupt"
                return f"decompression fails after about {lines:,} lines"
            unpacked += len(data)
            lines += data.count(b"\n")
            chunk = member.unused_data
            if member.eof:
                member, member_start, unpacked = zlib.decompressobj(wbits=31), b"", 0
                members += 1
    if members and not _GZIP_MAGIC.startswith(member_start):
        return _trailing_data(lines)
    return f"{_TRUNCATED}, after {lines:,} lines{_STILL_WRITTEN}" if member_start else ""


def check_zstd(file: BinaryIO, size: int) -> str:
    """Return what is wrong with a zstd file of `size` bytes, by the lengths in its block headers."""
    offset = 0
    while offset < size:
        file.seek(offset)
        magic = int.from_bytes(file.read(4), "little")
        if magic == _ZSTD_MAGIC:
            offset, problem = _check_zstd_frame(file, offset + 4, size)
            if problem:
                return problem
        elif magic & ~0xF == _SKIPPABLE_FRAME_MAGIC:
            offset += 8 + int.from_bytes(file.read(4), "little")
        else:
            return _TRAILING_DATA
    return _truncated(offset, size) if offset > size else ""


def _check_zstd_frame(file: BinaryIO, offset: int, size: int) -> tuple[int, str]:
    """Return the end offset of the frame whose header is at `offset`, and what is wrong with it."""
    (descriptor,) = file.read(1) or b"\0"
    single = descriptor >> 5 & 1  # single segment: a size instead of a window
    offset += 1 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
    last = 0
    while not last:
        file.seek(offset)
        header = int.from_bytes(read := file.read(3), "little")
        if len(read) < 3:
            return offset, _truncated(offset + 3, size)
        last, kind, length = header & 1, header >> 1 & 3, header >> 3
        offset += 3 + (1 if kind == _RLE_BLOCK else length)
    offset += 4 * (descriptor >> 2 & 1)
    return offset, _truncated(offset, size) if offset > size else ""


def _trailing_data(lines: int) -> str:
    return f"{_TRAILING_DATA} ({lines:,} lines were decompressed)"


def _truncated(end: int, size: int) -> str:
    return f"{_TRUNCATED}, after {size:,} of at least {end:,} bytes{_STILL_WRITTEN}"
