"""The lock of a data file: one server uses it at a time, by whatever path.

Two locks of flock(2), which belong to the open file: one on `…-lock`, which names the process, and one on the
data file itself, which another name of it (a hard link, a bind mount) cannot escape. They do not meet
SQLite's own locks, which are POSIX ones, on file systems of the machine.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

SIDE_FILES: Final = ("-lock", "-mark", "-wal", "-shm", "-index", "-index-wal", "-index-shm")
"""Endings of the files beside a data file."""

_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LOCKS: Final = Path("/proc/locks")

_locked_here: set[tuple[int, int]] = set()
"""Device and inode of the data files that this process has locked. A second descriptor of one MUST NOT be
opened: closing it would drop SQLite's locks (sqlite.org/howtocorrupt.html, 2.2)."""


class StoreLocked(Exception):  # noqa: N818  a state of the file
    """Another server uses the data file."""


class DataFileLock:
    """Both locks of a data file, from `__init__` to `release`."""

    def __init__(self, path: Path) -> None:
        """Lock the data file; create it, with mode 0600, if it does not exist.

        Raises `StoreLocked` with the pid of the server that holds it, and `OSError`, also for a file of
        `SIDE_FILES` that is not a regular one: what a link leads to is not ours to change.
        """
        check_regular(path)
        self._lock = _lock_beside(path)
        self._data = -1
        try:
            self._inode, self._data = _lock_itself(path)
        except BaseException:
            os.close(self._lock)
            raise
        _locked_here.add(self._inode)

    def release(self) -> None:
        """Release both. No connection to the data file MAY be open in this process any more."""
        if self._data >= 0:
            _locked_here.discard(self._inode)
            os.close(self._data)
            os.close(self._lock)
            self._data = -1


def is_locked_here(path: Path) -> bool:
    """Return whether this process uses the data file already."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return (status.st_dev, status.st_ino) in _locked_here
    return False


def check_regular(path: Path) -> None:
    """Raise `OSError` if the data file, or a file beside it, exists and is not a regular file."""
    for one in (path, *(path.with_name(path.name + suffix) for suffix in SIDE_FILES)):
        with suppress(FileNotFoundError):
            mode = one.lstat().st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "it is not a regular file", str(one))


def _lock_beside(path: Path) -> int:
    """Lock `…-lock` and write the pid into it; return its descriptor."""
    beside = path.with_name(path.name + "-lock")
    descriptor = os.open(beside, _FLAGS | os.O_CREAT, 0o600)
    try:
        _check_own_lock(beside, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _locked(path, os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_own_lock(path: Path, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a second name: somebody else's file
        raise OSError(errno.EINVAL, "it is not a regular file with one name", str(path))


def _lock_itself(path: Path) -> tuple[tuple[int, int], int]:
    """Lock the data file; return its device and inode, and its descriptor."""
    if is_locked_here(path):
        raise _locked(path, str(os.getpid()))
    descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    status = os.fstat(descriptor)
    inode = status.st_dev, status.st_ino
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)  # this process has no other descriptor of it
        raise _locked(path, _holder(*inode)) from None
    return inode, descriptor


def _locked(path: Path, pid: str) -> StoreLocked:
    return StoreLocked(f"{path} is in use by the server with process id {pid or 'unknown'}")


def _holder(device: int, inode: int) -> str:
    """Return the pid of the process that has a file locked by flock(2); empty if proc(5) has none."""
    with suppress(OSError):  # not Linux
        place = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
        for line in _LOCKS.read_text().splitlines():
            fields = line.split()  # number: FLOCK ADVISORY WRITE pid device:inode start end
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
                return fields[4]
    return ""
