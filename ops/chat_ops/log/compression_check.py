"""Whether packed files are whole: cut off, altered, or with something after their end.

Knows how gzip (RFC 1952) and Zstandard (RFC 8878) frame what they pack. Must not know what is in it.

DuckDB unpacks without looking at gzip's checksums: a bit that has flipped gives other lines, often without a
single bad one, and it takes a zstd file that is cut off for one that ends there. So every gzip file is
unpacked a second time, beside DuckDB's first pass, by threads that hold no lock. Of 100 MB (835 MB unpacked;
two cores, nothing else to do) that costs `summary` 18 % more time (3.9 s, not 3.3 s) and 22 % more of the
processor's. To look only when there were bad lines would be cheaper and no help: of twelve files with one bit
flipped, five had none. Of a zstd file only the frames are followed, which takes milliseconds: its checksum,
which the program `zstd` writes unless told not to, is DuckDB's to compare.
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

_CHUNK_BYTES: Final = 1 << 14
"""Bytes that are unpacked at once: a thousand times as much at most."""
_COMPRESSED_SUFFIXES: Final = (".gz", ".zst")
_ZSTD_MAGIC: Final = 0xFD2FB528
_SKIPPABLE_FRAME_MAGIC: Final = 0x184D2A50
"""Of a frame that holds no data; the last four bits may be any."""
_RLE_BLOCK: Final = 1
"""A block of one byte that is repeated."""
_TRUNCATED: Final = "it ends too early"
_STILL_WRITTEN: Final = " (is it still being written?)"
_EMPTY: Final = "it is empty"
_TRAILING_DATA: Final = "after its end comes something else"
_NO_HEADER: Final = "its beginning is not there"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BINARY_BYTES: Final = frozenset((*range(9), *range(14, 32)))
"""Bytes that no line of a log has, for JSON escapes them."""


class CompressionCheck:
    """Looks at packed files in threads of its own, while they are read."""

    def __init__(self, sources: Sequence[InputFile], threads: int) -> None:
        self._sources = sources
        self._threads = ThreadPoolExecutor(threads, "inspection")
        self._stop = threading.Event()
        self._found: list[tuple[InputFile, Future[str]]] | None = None

    def start(self) -> None:
        """Begin, if it has not begun."""
        if self._found is None:
            self._found = [
                (source, self._threads.submit(find_damage, source, self._stop)) for source in self._sources
            ]

    def raise_if_damaged(self) -> None:
        """Wait until all is looked at. Raises UsageError if a file is damaged."""
        damaged = [(source, what) for source, found in self._found or () if (what := found.result())]
        if damaged:
            source, what = damaged[0]
            raise UsageError(damage_message(source, what, [other for other, _ in damaged[1:]]))

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._threads.shutdown()


def find_damage(source: InputFile, stop: threading.Event | None = None) -> str:
    """Say what is wrong with a file; nothing if it is whole, not packed, or cannot be opened."""
    path = Path(source.path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if source.compression == "none":
                return check_uncompressed(file) if source.name.endswith(_COMPRESSED_SUFFIXES) else ""
            return check_gzip(file, stop) if source.compression == "gzip" else check_zstd(file, size)
    except OSError:
        return ""  # whoever reads it will say so


def damage_message(source: InputFile, problem: str, others: Sequence[InputFile] = ()) -> str:
    """Return the sentence for the person."""
    more = f" ({', '.join(other.name for other in others)} too)" if others else ""
    sentence = f"{source.name} is damaged{more}: {problem}. Nothing is reported;"
    if problem == _EMPTY:
        return f"{sentence} leave it out if there was nothing in it"
    if problem == _NO_HEADER:
        return f"{sentence} leave it out, for nothing can unpack it"
    program = "zstdcat" if source.compression == "zstd" else "zcat"
    # What came through a pipe cannot be read again by its name.
    rescue = f"{program} {shlex.quote(source.name)}" if Path(source.name).is_file() else f"… | {program}"
    return f"{sentence} to ask what can be unpacked: {rescue} | chat-logs … -"


def check_uncompressed(file: BinaryIO) -> str:
    """Say what is wrong with a file that is called packed and does not begin so. It may be a plain log."""
    head = file.read(_CHUNK_BYTES)
    if not head:
        return _EMPTY
    return _NO_HEADER if _BINARY_BYTES.intersection(head) else ""


def check_gzip(file: BinaryIO, stop: threading.Event | None = None) -> str:
    """Say what is wrong with a gzip file, by unpacking it."""
    lines = unpacked = members = 0  # all lines; bytes of this member; members before it
    member = zlib.decompressobj(wbits=31)
    member_start = b""  # the first bytes of this member
    while chunk := file.read(_CHUNK_BYTES):
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
                    return f"its checksum is wrong, so any of its lines (about {lines:,}) may be, too"
                return f"unpacking fails after about {lines:,} lines"
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
    """Say what is wrong with a zstd file of so many bytes, by the lengths that its blocks tell."""
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
    """Return where the frame ends whose header is at `at`, and what is wrong with it."""
    (descriptor,) = file.read(1) or b"\0"
    single = descriptor >> 5 & 1  # the window is not told, but the size
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
    return f"{_TRAILING_DATA} ({lines:,} lines were unpacked)"


def _truncated(end: int, size: int) -> str:
    return f"{_TRUNCATED}, after {size:,} of at least {end:,} bytes{_STILL_WRITTEN}"
