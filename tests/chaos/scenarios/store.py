"""Temporary store failures: senders get `unavailable`, nothing is lost, the store recovers by itself.

Each trouble is a context manager; the load continues around it. The server is never restarted.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from chaos.audit.faults import FaultKind
from chaos.damage.disk import filled, small_disk
from chaos.server import ChaosServer
from chaos.stage import ChaosStage, ScenarioSize, chaos_stage

STORE_PATIENCE_S = 0.3
"""The server's `--store-patience`: short, so that senders are refused soon."""
RECOVERY_TIMEOUT_S = 15.0
"""Time for the service to recover after the trouble."""

Trouble = Callable[[ChaosServer], AbstractContextManager[None]]


@contextmanager
def full_disk(server: ChaosServer) -> Iterator[None]:
    """No space on the tmpfs."""
    with filled(server.data):
        yield


@contextmanager
def file_limit(server: ChaosServer) -> Iterator[None]:
    """RLIMIT_FSIZE at the current size of the write-ahead log: EFBIG, and SIGXFSZ, which must not kill."""
    server.limit_files(server.wal_path().stat().st_size)
    try:
        yield
    finally:
        server.limit_files(-1)


@contextmanager
def _switched(server: ChaosServer, text: str, *names: str) -> Iterator[None]:
    for name in names:
        server.switch(name, text)
    try:
        yield
    finally:
        for name in names:
            server.switch(name, None)


def broken_disk(server: ChaosServer) -> AbstractContextManager[None]:
    """EIO at every write and read."""
    return _switched(server, "disk I/O error", "write", "read")


def read_only(server: ChaosServer) -> AbstractContextManager[None]:
    """EROFS at every write; reading works."""
    return _switched(server, "attempt to write a readonly database", "write")


@contextmanager
def locked(server: ChaosServer) -> Iterator[None]:
    """Another process holds SQLite's write lock."""
    path = server.data / "greenroom.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


TROUBLES: dict[str, Trouble] = {
    "full disk": full_disk,
    "file limit": file_limit,
    "EIO": broken_disk,
    "EROFS": read_only,
    "locked": locked,
}


def run(
    folder: Path, size: ScenarioSize, names: list[str], times: int, *, longest: float = 1.0
) -> dict[str, float]:
    """Cause each named trouble `times` times, in random order. Raises `FaultsFound`."""
    rng = random.Random(f"{size.seed}/store")
    order = names * times
    rng.shuffle(order)
    with small_disk(folder / "disk", 16 << 20) as disk:
        flags = ("--store-patience", str(STORE_PATIENCE_S))
        with chaos_stage(folder, size, *flags, rigged=True, data=disk or folder / "data") as scene:
            scene.start_load()
            refusals = 0
            for name in order:
                if name == "full disk" and disk is None:
                    name = "file limit"  # noqa: PLW2901  the possible alternative
                refusals += go_through_trouble(
                    scene, name, rng.uniform(0.1, longest), disturbed=rng.random() < 0.5
                )
                if scene.auditor.counts:
                    break
            # Each trouble caused at least one refusal, so each was effective.
            return scene.finish() | {"troubles": len(order), "refusals": refusals}


def go_through_trouble(scene: ChaosStage, name: str, seconds: float, *, disturbed: bool) -> int:
    """Cause one trouble, `disturbed` by a cut connection; return the number of refused sends."""
    crowd, auditor = scene.crowd, scene.auditor
    before = _refusals(scene)
    auditor.note_event(name)
    with TROUBLES[name](scene.server):
        refused = crowd.run(lambda: _refusals(scene) > before, RECOVERY_TIMEOUT_S)
        if not refused:
            auditor.report_fault(FaultKind.NOT_QUIET, "", f"no client got `unavailable` during {name}")
        if disturbed and refused:
            crowd.cut(crowd.robots[0], reset=True)
        crowd.run_for(seconds)
    auditor.note_event(f"{name} is over")
    acknowledged = auditor.acknowledged
    if not crowd.run(lambda: auditor.acknowledged > acknowledged, RECOVERY_TIMEOUT_S):
        auditor.report_fault(
            FaultKind.NOT_QUIET, "", f"nothing was stored within {RECOVERY_TIMEOUT_S} s after {name}"
        )
    scene.wait_all_back()
    return _refusals(scene) - before


def _refusals(scene: ChaosStage) -> int:
    return sum(robot.refusals for robot in scene.crowd.robots)
