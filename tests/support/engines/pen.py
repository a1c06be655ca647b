"""Writes to an engine as the core does: first rooms and identities, then the messages that refer to them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from chat_protocol import names
from chat_protocol.events import MessageEvent
from chat_server.core.ports.log import ConversationRow, NewMessage, Origin, StoredAt, ref_key
from chat_server.core.ports.registry import (
    IdentityRecord,
    NewRoom,
    Pair,
    RegistryChanges,
    SessionRecord,
    StoredRoom,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chat_server.engines.sqlite.log import SqliteEngine

UNLIMITED = 10**6


@dataclasses.dataclass(eq=False)
class Room:
    """A room as the core knows it; `id` is 0 until it is stored."""

    name: str
    key: str
    pair: Pair | None = None
    id: int = 0
    head: int = 0

    @classmethod
    def of(cls, row: StoredRoom) -> Room:
        return cls(row.name, row.key, row.pair, row.id, row.head)


@dataclasses.dataclass(frozen=True)
class Written:
    """A stored message: where it is, and the event that has to be read."""

    room: Room
    stored_at: StoredAt
    event: MessageEvent

    @property
    def seq(self) -> int:
        return self.event.seq

    @property
    def text(self) -> str:
        return self.event.message


class Pen:
    """Writes to an engine, as one session does."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.identity: int = engine.new_identity()
        self.session = "session"
        self.origin = Origin.CLIENT
        self.rooms: dict[str, Room] = {}
        self._is_registered = False

    def room(self, name: str) -> Room:
        """Return a public room: the stored one, or a new one."""
        if name not in self.rooms:
            stored = {row.key: row for row in self.engine.public_rooms()}
            row = stored.get(names.fold(name))
            self.rooms[name] = Room(name, names.fold(name)) if row is None else Room.of(row)
        return self.rooms[name]

    def conversation(self, name: str, pair: Pair) -> Room:
        """Return a new conversation."""
        return Room(name, names.fold(name), pair)

    def register(self, *rooms: Room) -> None:
        """Store the rooms that are not stored yet, and the identity."""
        new = [room for room in dict.fromkeys(rooms) if not room.id]
        changes = RegistryChanges(rooms=[NewRoom(room.name, room.key, room.pair) for room in new])
        if not self._is_registered:
            changes.identities.append(IdentityRecord(self.identity, "ann"))
        if changes.rooms or changes.identities:
            for room, row in zip(new, self.engine.write(changes), strict=True):
                room.id, room.name, room.key, room.head = row.id, row.name, row.key, row.head
            self._is_registered = True

    def rows(self, *said: tuple[Room, str], refs: Iterable[str | None] = ()) -> list[NewMessage]:
        """Return the rows of messages in stored rooms; without `refs` these are numbered."""
        wanted = list(refs) or [f"ref {number}" for number in range(len(said))]
        return [
            NewMessage(room.id, self.session, self.identity, "ann", text, ref, self.origin)
            for (room, text), ref in zip(said, wanted, strict=True)
        ]

    def append(
        self,
        *said: tuple[Room, str],
        refs: Iterable[str | None] = (),
        states: Iterable[ConversationRow] = (),
    ) -> list[Written]:
        """Append a batch of messages in stored rooms, and check what the engine says about it."""
        rows = self.rows(*said, refs=refs)
        appended = self.engine.append(rows, [*states])
        assert appended.bases == {room.id: room.head for room, _ in said}
        assert len(appended.stored_at) == len(said)
        written = []
        for (room, _), row, stored_at in zip(said, rows, appended.stored_at, strict=True):
            room.head += 1
            event = MessageEvent(
                room=room.name,
                seq=room.head,
                sender=row.session,
                username=row.username,
                message=row.text,
                timestamp=appended.timestamp,
                origin=row.origin,
                ref=row.ref,
            )
            written.append(Written(room, stored_at, event))
        return written

    def write(self, *said: tuple[Room, str]) -> list[Written]:
        """Store the rooms that are new, then append the messages as one batch."""
        self.register(*(room for room, _ in said))
        return self.append(*said)

    def say(self, room: str, *texts: str) -> list[Written]:
        """Write messages to a public room, one batch each."""
        return [self.write((self.room(room), text))[0] for text in texts]


def session(number: int, name: str) -> SessionRecord:
    """Return a resumable session of the identity `number`."""
    return SessionRecord(f"s{number}", number, name, f"secret of {number}".encode())


def saved(*sessions: SessionRecord) -> RegistryChanges:
    """Return the changes that store sessions with their identities."""
    return RegistryChanges(
        identities=[IdentityRecord(one.identity, one.name) for one in sessions], sessions=[*sessions]
    )


def keyed(refs: dict[str, StoredAt]) -> dict[int, StoredAt]:
    """Return refs as an engine returns them."""
    return {ref_key(ref): stored_at for ref, stored_at in refs.items()}


def events(engine: Any, room: Room | StoredRoom, *, newest: bool = False) -> list[MessageEvent]:
    """Return all messages of a room."""
    found: list[MessageEvent] = engine.read(room.id, room.name, 0, 1 << 40, UNLIMITED, newest=newest)
    return found


def texts(engine: Any, room: Room | StoredRoom) -> list[str]:
    """Return the texts of all messages of a room."""
    return [event.message for event in events(engine, room)]


def say_around_upkeep(store: SqliteEngine) -> Pen:
    """Write fifty messages in room a that upkeep copies into the data file, and fifty that it does not."""
    pen = Pen(store)
    pen.say("a", *map(str, range(50)))
    store.maintain()
    pen.say("a", *map(str, range(50, 100)))
    return pen
