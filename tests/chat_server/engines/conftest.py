"""Engines: of each kind for the contract of the ports, and the SQLite engine at one path."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.engines.kinds import KINDS, Kind, SetClock, open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chat_server.engines.sqlite.log import SqliteEngine


def open_files(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open."""
    opened = []
    listing = Path("/proc/self/fd")
    for descriptor in listing.iterdir() if listing.exists() else ():  # Linux
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            opened.append(str(descriptor.readlink()))
    return [one for one in opened if one.startswith(str(folder))]


@pytest.fixture(scope="session")
def held() -> Callable[[Path], list[str]]:
    return open_files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "greenroom.db"


@pytest.fixture
def clock() -> SetClock:
    """The clock of the engines that the fixtures open."""
    return SetClock()


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    one: Kind = request.param
    return one


@pytest.fixture
def open_engine(kind: Kind, path: Path, clock: SetClock) -> Iterator[Callable[[], Any]]:
    """Return a function that closes the engine, if it is open, and opens it again."""
    opened: list[Any] = []

    def open_again() -> Any:
        if opened:
            opened.pop().close()
        opened.append(kind.open(path, clock))
        return opened[0]

    yield open_again
    if opened:
        opened.pop().close()


@pytest.fixture
def engine(open_engine: Callable[[], Any]) -> Any:
    """An engine of each kind."""
    return open_engine()


@pytest.fixture
def open_store(path: Path, clock: SetClock) -> Iterator[Callable[..., SqliteEngine]]:
    """Return a function that opens the SQLite engine at `path`; all are closed after the test."""
    opened: list[SqliteEngine] = []

    def open_one(where: Path = path, *, full: bool = False) -> SqliteEngine:
        store = open_sqlite(where, clock, full=full)
        opened.append(store)
        close = store.close

        def close_once() -> None:
            opened.remove(store)
            close()

        store.close = close_once  # type: ignore[method-assign]
        return store

    yield open_one
    while opened:
        opened[-1].close()
