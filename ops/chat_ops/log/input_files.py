"""Input files of the log: paths, globs and standard input, prepared for DuckDB.

DuckDB reads a file several times and treats its name as a pattern. So a pipe is copied to a temporary file,
and a file whose name contains pattern characters is read through a symbolic link.
"""

import contextlib
import glob
import gzip
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from chat_ops.log.errors import UsageError
from chat_ops.log.temporary_folder import TemporaryFolder

Compression = Literal["none", "gzip", "zstd"]
STDIN: Final = "-"
_COMPRESSION_MAGIC: Final[dict[bytes, Compression]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    # Skippable frames, sixteen magic numbers: pzstd writes one before each data frame.
    **{bytes((0x50 + kind, 0x2A, 0x4D, 0x18)): "zstd" for kind in range(16)},
}
_UNSUPPORTED_MAGIC: Final = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}
_COPY_BYTES: Final = 1 << 20
_GLOB_CHARS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read: its name for messages, the path for DuckDB, and its compression."""

    name: str
    path: str
    compression: Compression
    identity: tuple[int, int] = (0, 0)
    """Device and inode of the file itself, where `path` is a copy."""


def find_input_files(arguments: Sequence[str], folder: TemporaryFolder) -> list[InputFile]:
    """Return the files of `arguments` (paths, patterns, `-`), each once; pipes are copied into `folder`.

    Raises `UsageError` if a file is missing or cannot be read.
    """
    sources: list[InputFile] = []
    seen: set[tuple[int, int]] = set()
    for name in _expand_globs(arguments):
        with _as_usage_errors(name):
            status = os.fstat(0) if name == STDIN else Path(name).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue  # named twice, by patterns or a link
            seen.add((status.st_dev, status.st_ino))
            if stat.S_ISDIR(status.st_mode):
                raise UsageError(f"{name} is a directory: give its files, e.g. {Path(name) / '*.log*'}")
            shown = "(standard input)" if name == STDIN else name
            if name == STDIN or not stat.S_ISREG(status.st_mode):
                path = folder.path(f"to copy {shown}") / f"spooled-{len(sources)}"
                _spool(name, path, folder)
            elif _is_literal_path(str(path := Path(name).absolute())):
                pass
            else:
                link = folder.path(f"to read {shown!a}") / f"linked-{len(sources)}"
                link.symlink_to(path)
                path = link
            identity = (status.st_dev, status.st_ino)
            sources.append(InputFile(shown, str(path), _detect_compression(name, path), identity))
    return sources


def _expand_globs(arguments: Sequence[str]) -> Iterator[str]:
    for word in arguments:
        if word == STDIN or not _GLOB_CHARS & set(word) or Path(word).exists():
            yield word
            continue
        found = sorted(path for path in glob.glob(word, recursive=True) if not Path(path).is_dir())  # noqa: PTH207  Path.glob takes no absolute pattern
        if not found:
            raise UsageError(f"no file matches {word}")
        yield from found


@contextlib.contextmanager
def _as_usage_errors(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"no such file: {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None


def _spool(name: str, copy: Path, folder: TemporaryFolder) -> None:
    """Copy a file that can be read only once. Raises `OSError` for reading, `UsageError` for writing."""
    with contextlib.ExitStack() as stack:
        source: BinaryIO
        if name == STDIN:
            if sys.stdin is None:
                raise UsageError("standard input is closed")
            source = sys.stdin.buffer
        else:
            source = stack.enter_context(Path(name).open("rb"))
        try:
            written = stack.enter_context(copy.open("xb", buffering=0))
        except OSError as error:
            raise folder.copy_failed(name, error) from None
        while data := source.read(_COPY_BYTES):
            view = memoryview(data)
            while view:
                try:
                    view = view[written.write(view) :]
                except OSError as error:
                    raise folder.copy_failed(name, error) from None


def _is_literal_path(path: str) -> bool:
    """Whether DuckDB reads exactly this file for the path."""
    return path.isprintable() and not _GLOB_CHARS & set(path)


def _detect_compression(name: str, path: Path) -> Compression:
    with path.open("rb") as file:
        head = file.read(6)
    for magic, kind in _UNSUPPORTED_MAGIC.items():
        if head.startswith(magic):
            raise UsageError(
                f"{name} is compressed with {kind}: decompress it first ({kind} -dc {name} | chat-logs … -)"
            )
    return next((kind for magic, kind in _COMPRESSION_MAGIC.items() if head.startswith(magic)), "none")


@contextlib.contextmanager
def open_decompressed(source: InputFile) -> Iterator[BinaryIO | None]:
    """Open the file decompressed; None for zstd if the program `zstd` is not installed."""
    if source.compression == "none":
        with Path(source.path).open("rb") as file:
            yield file
    elif source.compression == "gzip":
        with gzip.open(source.path, "rb") as unpacked:
            yield unpacked  # type: ignore[misc]  # it has the same methods
    elif (program := shutil.which("zstd")) is None:
        yield None
    else:
        command = [program, "-dcq", "--", source.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:  # noqa: S603
            assert process.stdout is not None
            yield process.stdout  # type: ignore[misc]  # as above
            process.kill()
