"""The sizes of the files of a data file, and the free space of their disk."""

import shutil
from pathlib import Path


def disk_sizes(path: Path) -> dict[str, int]:
    """Return bytes by the names of the event log: of data and index, of their write-ahead logs, and free."""
    sizes = {}
    for field, suffixes in (("store_bytes", ("", "-index")), ("wal_bytes", ("-wal", "-index-wal"))):
        sizes[field] = sum(_file_bytes(path.with_name(path.name + suffix)) for suffix in suffixes)
    return {**sizes, "free_bytes": shutil.disk_usage(path.parent).free}


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
