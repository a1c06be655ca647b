"""A small tmpfs that can be filled, where mounting is allowed."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK_BYTES = 4096


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """Mount a tmpfs of `size` bytes on `folder`, and unmount it at the end; None if not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        yield None
        return
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        # Lazily: an ending server may have a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a disk, and free the space at the end."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(_BLOCK_BYTES)) == _BLOCK_BYTES:
            pass
    try:
        yield
    finally:
        ballast.unlink()
