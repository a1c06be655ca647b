"""Output files: written as a shell's `>` would, but atomically where that is possible.

A symbolic link is written through. A FIFO or device is opened and written, never replaced. `/dev/fd/N` and
`/dev/stdout` are the descriptor itself, so that what was written to it before remains. A regular file keeps
its mode and owner, and its old content if the new one cannot be written completely.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MAX_LINKS: Final = 40
"""Symbolic links followed in search of a descriptor, as in the kernel (path_resolution(7))."""
_NEW_FILE_MODE: Final = 0o666
"""Before the umask is applied."""


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file. Raises `OSError`; a regular file then is as it was before."""
    descriptor = _named_descriptor(path)
    if descriptor is not None:
        _write_all(descriptor, data)
        return
    try:
        opened = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        with _complete_file(Path(os.path.realpath(path)), data, _NEW_FILE_MODE) as part:
            part.replace(os.path.realpath(path))
        return
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            _write_all(opened, data)
        elif not _replaced(Path(os.path.realpath(path)), status, data):
            _overwrite(opened, status.st_size, data)
    finally:
        os.close(opened)


def create_file(path: str | Path, data: bytes, mode: int = _NEW_FILE_MODE) -> None:
    """Write a new file, which never exists half-written. Raises `FileExistsError`, `OSError`."""
    target = Path(os.path.realpath(path))
    with _complete_file(target, data, mode) as part:
        target.hardlink_to(part)


def find_problem(path: str | Path) -> str:
    """Return why a file cannot be written, as far as that is known without writing; empty if it can."""
    try:
        if _named_descriptor(path) is not None:
            return ""
        if Path(path).is_dir():
            return "Is a directory"
        target = Path(os.path.realpath(path))
        place = target if target.exists() else target.parent
        if not place.is_dir() and not target.exists():
            place.stat()  # raises if it is missing
            return "Not a directory"
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(place, os.W_OK) else "Permission denied"


def _named_descriptor(path: str | Path) -> int | None:
    """Return the descriptor of this process that `path` names, itself or by links; None for another path."""
    own = {os.path.realpath(folder) for folder in ("/proc/self/fd", "/dev/fd")}
    for _ in range(_MAX_LINKS):
        folder, name = os.path.split(path)
        if name.isascii() and name.isdigit() and os.path.realpath(folder) in own:
            return int(name)
        try:
            path = Path(folder, Path(path).readlink())
        except OSError:  # no link, or nothing there: opening it will say so
            return None
    return None


@contextlib.contextmanager
def _complete_file(target: Path, data: bytes, mode: int) -> Iterator[Path]:
    """Yield a complete new file beside `target`, which is removed afterwards unless it was renamed."""
    part = target.with_name(f".{secrets.token_hex(8)}.part")  # short: `target` may have the longest name
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            _write_all(opened, data)
            os.fsync(opened)
        finally:
            os.close(opened)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _replaced(target: Path, status: os.stat_result, data: bytes) -> bool:
    """Replace a regular file by a new one with the same mode and owner; return False if that cannot be."""
    try:
        now = target.stat()
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
            return False  # removed or replaced since it was opened
        if status.st_nlink > 1 or _has_attributes(target):  # another name of it, or an ACL, would be lost
            return False
        with _complete_file(target, data, 0o600) as part:
            if (os.geteuid(), os.getegid()) != (status.st_uid, status.st_gid):
                os.chown(part, status.st_uid, status.st_gid)
            part.chmod(stat.S_IMODE(status.st_mode))
            part.replace(target)
    except PermissionError:  # the folder cannot be written, or the owner not be given: the file itself can
        return False
    return True


def _has_attributes(target: Path) -> bool:
    try:
        return bool(os.listxattr(target))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return False
        raise


def _overwrite(opened: int, old_size: int, data: bytes) -> None:
    """Overwrite an open regular file, after reserving the space: a full disk leaves the old content."""
    try:
        if len(data) > old_size:
            os.posix_fallocate(opened, 0, len(data))
    except OSError:
        os.ftruncate(opened, old_size)
        raise
    _write_all(opened, data)
    os.ftruncate(opened, len(data))


def _write_all(opened: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(opened, view) :]
