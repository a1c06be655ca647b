"""Simulated power loss: removes unsynced data from the store's files.

Uses the formats of SQLite's write-ahead log and its index (https://sqlite.org/fileformat2.html#walformat,
https://sqlite.org/walformat.html) and of our mark (chat_server/engines/sqlite/tail_guard.py). The server
MUST have ended.
"""

import random
import struct
from dataclasses import dataclass
from pathlib import Path

from chat_server.engines.sqlite import tail_guard

_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MARKED_SIZE_OFFSET = 8
"""Offset of the log's size in the mark."""
_OTHER_BOOT = b"00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The commits removed."""

    commits: int
    """Unsynced transactions in the write-ahead log."""
    lost: int
    """How many of these were removed."""


def cut_power(data: Path, seed: object, *, synced: bool = False) -> PowerCut:
    """Remove an unsynced tail of random length, and pretend a reboot.

    With `synced` every commit was synced (`--sync full`), so nothing is removed.
    """
    database = data / "greenroom.db"
    taken = PowerCut(0, 0) if synced else _truncate(database, random.Random(f"{seed}/power"))
    database.with_name("greenroom.db-shm").unlink(missing_ok=True)
    _write_other_boot_id(database.with_name("greenroom.db-mark"))
    return taken


def _truncate(database: Path, rng: random.Random) -> PowerCut:
    wal = database.with_name(database.name + "-wal")
    index = database.with_name(database.name + "-shm").read_bytes()
    (newest,) = struct.unpack_from("=I", index, 16)  # mxFrame of the first header
    (done,) = struct.unpack_from("=I", index, 96)  # nBackfill: frames in the data file, so synced
    (tried,) = struct.unpack_from("=I", index, 128)  # nBackfillAttempted
    content = wal.read_bytes()
    (page,) = struct.unpack_from(">I", content, 8)
    frame = _FRAME_HEADER_BYTES + page
    # A frame that ends a transaction holds the size of the database after it.
    ends = [
        number
        for number in range(1, newest + 1)
        if struct.unpack_from(">I", content, _WAL_HEADER_BYTES + (number - 1) * frame + 4)[0]
    ]
    synced = max(done, tried)
    unsynced = [number for number in ends if number > synced]
    kept = rng.randrange(len(unsynced)) if unsynced else 0
    last = unsynced[kept - 1] if kept else synced
    # Half of the time a torn transaction follows, which recovery must discard.
    torn = rng.choice((0, frame // 2)) if unsynced and last < newest else 0
    with wal.open("r+b") as file:
        file.truncate(_WAL_HEADER_BYTES + last * frame + torn)
    return PowerCut(len(unsynced), len(unsynced) - kept)


def _write_other_boot_id(path: Path) -> None:
    """Write another boot id and an old size into the mark, which is never synced."""
    content = bytearray(path.read_bytes())
    here = tail_guard.boot_id().encode()
    at = content.index(here)
    content[at : at + len(here)] = _OTHER_BOOT
    struct.pack_into("<Q", content, _MARKED_SIZE_OFFSET, 0)
    path.write_bytes(content)
