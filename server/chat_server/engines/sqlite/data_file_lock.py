"""The lock of a data file: one server uses it at a time."""

import fcntl
import os
from pathlib import Path
from typing import IO


class StoreLocked(Exception):  # noqa: N818  a state of the file
    """Another server uses the data file."""


def lock_data_file(path: Path) -> IO[str]:
    """Lock the data file until exit. Raises `StoreLocked` with the pid of the server that holds it."""
    descriptor = os.open(path.with_name(path.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreLocked(f"{path} is in use by the server with process id {holder}") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
