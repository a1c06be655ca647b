"""The engines that the contract of the ports is tested on, and what each of them can promise."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Any

import pytest

from chat_server.engines import memory
from chat_server.engines.memory import MemoryEngine
from chat_server.engines.sqlite import retention, upkeep
from chat_server.engines.sqlite.log import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

REFUSED = "refused"
"""A message of this text, a room or a session of this name: what `Kind.refuse` lets fail."""


class SetClock:
    """Seconds since the epoch, which the test sets."""

    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass(frozen=True)
class Kind:
    """An engine in tests. `open` opens it; after `close` again, with what it has stored if it `survives`.

    `refuse` makes writes of `REFUSED` fail, after what comes before them in the same call; None if no write
    can fail. `take_small_steps` bounds a step of `trim` to 10 messages.
    """

    name: str
    open: Callable[[Path, Callable[[], float]], Any]
    take_small_steps: Callable[[pytest.MonkeyPatch], None]
    survives: bool = True
    refuse: Callable[[Any], AbstractContextManager[None]] | None = None

    def __str__(self) -> str:
        return self.name


def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Replace an offload by a direct call."""
    return function(*args)


def open_sqlite(path: Path, clock: Callable[[], float] = time.time, *, full: bool = False) -> SqliteEngine:
    """Open the SQLite engine without threads."""
    return SqliteEngine(path, full_sync=full, offload=inline, read_offload=inline, clock=clock)


@contextlib.contextmanager
def _refuse_sqlite(engine: Any) -> Iterator[None]:
    connection = engine._connection
    columns = {"log": "text", "rooms": "name", "sessions": "name"}
    for table, column in columns.items():
        connection.execute(
            f"CREATE TEMP TRIGGER refuse_{table} BEFORE INSERT ON main.{table} "
            f"WHEN new.{column} = '{REFUSED}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    try:
        yield
    finally:
        for table in columns:
            connection.execute(f"DROP TRIGGER refuse_{table}")


def _sqlite_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TRIM_STEP_MESSAGES", 10)
    monkeypatch.setattr(upkeep, "SCAN_STEP_ROOMS", 2)


def _memory_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_STEP_MESSAGES", 10)


KINDS = (
    Kind("memory", lambda _path, clock: MemoryEngine(10_000, clock), _memory_steps, survives=False),
    Kind("sqlite", open_sqlite, _sqlite_steps, refuse=_refuse_sqlite),
    Kind("sqlite, synced", functools.partial(open_sqlite, full=True), _sqlite_steps, refuse=_refuse_sqlite),
)

of_survivors = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.survives], indirect=True, ids=str
)
"""For tests of what is read at the next start."""

of_fallible = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.refuse], indirect=True, ids=str)
"""For tests of writes that fail."""
