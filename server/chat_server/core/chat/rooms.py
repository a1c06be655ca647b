"""Public rooms: finding, making, joining and leaving them. MUST NOT switch greenlets."""

from collections.abc import Callable, Iterable

from chat_protocol import names
from chat_protocol.errors import ErrorCode, Refused
from chat_server.core.base.limits import Limits
from chat_server.core.base.sorted_dict import SortedDict
from chat_server.core.chat.presence import PresenceUpdates
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.room import Room, Session
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Confusables
from chat_server.core.ports.registry import NewRoom, StoredRoom
from chat_server.core.sessions.membership import MembershipEvent


class PublicRooms(SortedDict[Room]):
    """The public rooms by folded name; sorted by it."""

    def __init__(
        self,
        new_room: Callable[[NewRoom | StoredRoom], Room],
        backfill: Backfill,
        presence_updates: PresenceUpdates,
        limits: Callable[[], Limits],
    ) -> None:
        super().__init__()
        self._new_room = new_room
        self._backfill = backfill
        self._presence_updates = presence_updates
        self._limits = limits
        self._names = Confusables()

    def restore(self, row: StoredRoom) -> None:
        """Add a stored room, at start."""
        self._register(self._new_room(row))

    def find_or_make(self, name: str) -> Room:
        """Return the room of that name, or a new one that `join` registers. Raises `Refused`."""
        room = self.get(name)
        if room is not None:
            return room
        try:
            shown = names.validate_name(name)
        except ValueError as error:
            room = self.get(names.fold(name))
            if room is not None:  # stored when the name was still valid
                return room
            raise Refused(ErrorCode.NAME_INVALID, f"invalid room name: {error}") from None
        key = names.fold(shown)
        return self.get(key) or self._make(shown, key)

    def check_count(self, count: int) -> None:
        """Raise `Refused` if a session may not be in `count` rooms."""
        max_rooms = self._limits().max_rooms
        if count > max_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you can be in at most {max_rooms} rooms at once")

    def check_new(self, rooms: Iterable[Room]) -> None:
        """Raise `Refused` if those of `rooms` that are new may not be created together."""
        new = NewRooms(self)
        for room in rooms:
            new.add(room)

    def check_space(self, count: int) -> None:
        """Raise `Refused` if `count` more rooms may not be created."""
        if count and len(self) + count > self._limits().max_public_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, "the server has too many rooms; join an existing one")

    def join(self, room: Room, session: Session, *, lagging_after: int | None = None) -> Room:
        """Make the session a member; return the registered room.

        With `lagging_after` it is backfilled first: it has the messages up to that seq.
        """
        if room.key not in self:
            self._register(room)
        room = self[room.key]
        if session not in room.members:
            if lagging_after is None:
                room.add_member(session)
            else:
                membership = room.add_member(session, MembershipEvent.JOIN_LAGGING)
                self._backfill.fall_behind(session, membership, lagging_after)
            self._presence_updates.note_joined(room, session.identity)
        return room

    def leave(self, room: Room, session: Session) -> None:
        """Remove a member; a room without members and messages is deleted."""
        membership = room.remove_member(session)
        self._backfill.drop_cursor(session, membership)
        self._presence_updates.note_left(room, session.identity)
        if not room.members and not room.id and not room.is_queued and room.key in self:
            del self[room.key]
            self._names.remove_name(room.key)
            self._presence_updates.forget_room(room)

    def _make(self, shown: str, key: str) -> Room:
        """Return a new room, not registered yet, or raise `Refused`."""
        mixed = scripts.mixing_problem(shown)
        if mixed is not None:
            raise Refused(ErrorCode.NAME_INVALID, f"invalid room name: {mixed}")
        alike = self._names.find_confusable(shown, key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN,
                f"the room name {shown} looks like {alike}, which exists; choose another",
            )
        room = self._new_room(NewRoom(shown, key))
        self.check_new([room])
        return room

    def _register(self, room: Room) -> None:
        self[room.key] = room
        self._names.add_name(room.name, room.key)


class NewRooms:
    """Rooms that one command creates together: each is compared once with those before it."""

    def __init__(self, rooms: PublicRooms) -> None:
        self._rooms = rooms
        self._keys: set[str] = set()
        self._names = Confusables()

    def add(self, room: Room) -> None:
        """Add a room if it is new. Raises `Refused` if it may not be created together with the others."""
        if room.key in self._rooms or room.key in self._keys:
            return
        self._rooms.check_space(len(self._keys) + 1)
        alike = self._names.find_confusable(room.name, room.key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN,
                f"the room names {room.name} and {alike} look alike; join one of them",
            )
        self._names.add_name(room.name, room.key)
        self._keys.add(room.key)
