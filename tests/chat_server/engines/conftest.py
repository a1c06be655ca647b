"""Stores, and a writer that makes batches as the core does."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_protocol import names
from chat_server.core.delivery.batch import Batch, QueuedMessage
from chat_server.core.ports.records import IdentityRecord, Origin, RegistryChanges, RoomRecord, SessionRecord
from chat_server.engines.memory import MemoryStore
from chat_server.engines.sqlite.log import SqliteStore

SERVER = Path(__file__).parents[3] / "server"


def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Replace an offload by a direct call."""
    return function(*args)


@dataclasses.dataclass(eq=False)
class Room:
    """The part of a room that engines use."""

    record: RoomRecord

    @property
    def name(self) -> str:
        return self.record.name


@dataclasses.dataclass(eq=False)
class Author:
    """The part of a session that engines use."""

    identity: int
    id: str = "session"
    name: str = "ann"
    origin: Origin = Origin.CLIENT
    identity_stored: bool = False


class Pen:
    """Writes to a store, as one session does."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.author: Any = Author(store.new_identity())
        self.rooms: dict[str, Any] = {}
        self._at = 1.7e9

    def room(self, name: str) -> Any:
        """Return a public room: the stored one, or a new one."""
        if name not in self.rooms:
            known = {record.key: record for record in self.store.public_rooms()}
            record = known.get(names.fold(name)) or RoomRecord(name, names.fold(name))
            self.rooms[name] = Room(record)
        return self.rooms[name]

    def conversation(self, name: str, pair: tuple[int, int]) -> Any:
        return Room(RoomRecord(name, names.fold(name), pair=pair))

    def batch(self, *said: tuple[Any, str], sessions: tuple[SessionRecord, ...] = ()) -> Batch:
        """Return a batch with these messages and the registry changes that they need."""
        batch = Batch()
        self._at += 1
        batch.timestamp = self._at
        for number, (room, text) in enumerate(said):
            batch.messages.append(QueuedMessage(room, self.author, "ann", text, f"ref {number}", 0.0))
            if not room.record.id and not room.record.queued:
                batch.registry_changes = batch.registry_changes or RegistryChanges()
                batch.registry_changes.rooms.append(room.record)
                room.record.queued = True
        if not self.author.identity_stored:
            self.author.identity_stored = True
            batch.registry_changes = batch.registry_changes or RegistryChanges()
            batch.registry_changes.identities.append(IdentityRecord(self.author.identity, "ann"))
        if sessions:
            batch.registry_changes = batch.registry_changes or RegistryChanges()
            batch.registry_changes.sessions.extend(sessions)
        return batch

    def write(self, *said: tuple[Any, str]) -> list[QueuedMessage]:
        batch = self.batch(*said)
        self.store.append(batch)
        return batch.messages

    def say(self, room: str, *texts: str) -> list[QueuedMessage]:
        """Write messages to a public room, one batch each."""
        return [self.write((self.room(room), text))[0] for text in texts]


def texts(store: Any, room: Room | RoomRecord, after: int = 0, before: int = 10**9) -> list[str]:
    record = room.record if isinstance(room, Room) else room
    return [event.message for event in store.read(record, after, before, 10**6, newest=False)]


def open_at(path: Path | str, *, full: bool = False) -> SqliteStore:
    return SqliteStore(Path(path), full_sync=full, offload=inline, read_offload=inline)


@contextlib.contextmanager
def program(source: str, *args: object, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program with the names of this file imported; kill it at exit."""
    environment = os.environ | {"PYTHONPATH": f"{SERVER}:{Path(__file__).parent}"}
    modules = (
        "from pathlib import Path",
        "from conftest import *",
        "from chat_server.engines.sqlite.log import *",
    )
    head = "\n".join(("import sys", *modules, ""))
    process = subprocess.Popen(
        [sys.executable, "-c", head + source, *map(str, args)],
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


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


@pytest.fixture(scope="session")
def make_pen() -> type[Pen]:
    return Pen


@pytest.fixture(scope="session", name="open_at")
def give_open_at() -> Callable[..., SqliteStore]:
    return open_at


@pytest.fixture(scope="session")
def read_texts() -> Callable[..., list[str]]:
    return texts


@pytest.fixture(scope="session")
def run_program() -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]:
    return program


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "greenroom.db"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., SqliteStore]]:
    """Return a function that opens the store at `path`; stores are closed after the test."""
    opened: list[SqliteStore] = []

    def open_one(where: Path = path, *, full: bool = False) -> SqliteStore:
        store = open_at(where, full=full)
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


@pytest.fixture(params=["memory", "sqlite", "sqlite, synced"])
def store(request: pytest.FixtureRequest, open_store: Callable[..., SqliteStore]) -> Any:
    """A store of each engine."""
    if request.param == "memory":
        return MemoryStore(10_000)
    return open_store(full=request.param != "sqlite")
