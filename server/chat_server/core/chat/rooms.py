"""Public rooms: finding, making, joining and leaving them, and how they end. MUST NOT switch greenlets.

A room without members and messages is gone at once. One with messages stays, and is idle while it has no
members. It ends when retention has deleted its last message, when an idle one has to give way to a new room,
or when the operator deletes it. An ended room leaves its last seq behind in the registry: a room that is made
under its name later goes on there. The lobby never ends, and can be made whatever the number of rooms.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from chat_protocol import LOBBY, names
from chat_protocol.errors import ErrorCode, Refused
from chat_protocol.events import Gap, Left
from chat_server.core.base.bucket_table import BucketTable
from chat_server.core.base.limits import Limits
from chat_server.core.base.rate_limit import rounded_up
from chat_server.core.base.sorted_dict import SortedDict
from chat_server.core.chat.presence import PresenceUpdates
from chat_server.core.delivery.backfill import Backfill
from chat_server.core.delivery.ingest import Ingest
from chat_server.core.delivery.room import Room, Session
from chat_server.core.names import scripts
from chat_server.core.names.confusables import Confusables
from chat_server.core.ports.clock import Clock
from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, Registry, StoredRoom
from chat_server.core.sessions.membership import MembershipEvent

MAX_CANDIDATES: Final = 8
"""Idle rooms that are considered when one has to give way: one whose message is still queued cannot."""


class PublicRooms(SortedDict[Room]):
    """The public rooms by folded name; sorted by it."""

    def __init__(
        self,
        new_room: Callable[[NewRoom | StoredRoom], Room],
        backfill: Backfill,
        presence_updates: PresenceUpdates,
        registry: Registry,
        ingest: Ingest,
        clock: Clock,
        limits: Callable[[], Limits],
    ) -> None:
        super().__init__()
        self._new_room = new_room
        self._backfill = backfill
        self._presence_updates = presence_updates
        self._registry = registry
        self._ingest = ingest
        self._clock = clock
        self._limits = limits
        self._names = Confusables()
        self._names.add_name(LOBBY, LOBBY)  # for good: nothing that looks like it keeps it from being made
        self._idle: dict[Room, None] = {}  # without members, except the lobby; the longest idle one first
        self._made = BucketTable()  # rooms made, by address

    def restore(self, row: StoredRoom) -> None:
        """Add a stored room, at start; end one that has lost all its messages."""
        room = self._new_room(row)
        self._register(room)
        self._settle(room)

    def find_or_make(self, name: str) -> Room:
        """Return the room of that name, or a new one that `join` registers. Raises `Refused`."""
        room = self.get(name)
        if room is None:
            try:
                shown = names.validate_name(name)
            except ValueError as error:
                room = self.get(names.fold(name))
                if room is None:
                    raise Refused(ErrorCode.NAME_INVALID, f"invalid room name: {error}") from None
            else:  # else it was stored when the name was still valid
                key = names.fold(shown)
                room = self.get(key)
                if room is None:
                    return self._make(shown, key)
        if room.is_ending:
            raise Refused(ErrorCode.UNAVAILABLE, f"the room {room.name} is being deleted; try again")
        return room

    def check_count(self, count: int) -> None:
        """Raise `Refused` if a session may not be in `count` rooms."""
        max_rooms = self._limits().max_rooms
        if count > max_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, f"you can be in at most {max_rooms} rooms at once")

    def check_new(self, rooms: Iterable[Room], address_key: str = "") -> None:
        """Raise `Refused` if those of `rooms` that are new may not be created together."""
        new = NewRooms(self, address_key)
        for room in rooms:
            new.add(room)

    def is_idle(self, room: Room) -> bool:
        """Return whether the room has no members, and would give way to a new one."""
        return room in self._idle

    def check_making(self, count: int, entered_idle: int, address_key: str) -> None:
        """Raise `Refused` if `count` rooms may not be created while `entered_idle` idle ones are entered.

        `address_key`: of the peer that makes them, empty if it is exempt from limits per address.
        """
        limits = self._limits()
        in_use = len(self) - len(self._idle) + entered_idle
        if in_use + count > limits.max_public_rooms > 0:
            raise Refused(ErrorCode.TOO_MANY, "the server has too many rooms; join an existing one")
        if address_key:
            wait = self._made.wait_seconds(address_key, count, limits.rate_rooms, self._clock.monotonic())
            if wait:
                raise Refused(
                    ErrorCode.RATE_LIMITED,
                    "too many rooms were made from your address; join an existing one, or wait",
                    retry_after=rounded_up(wait),
                )

    def join(self, room: Room, session: Session, *, lagging_after: int | None = None) -> Room:
        """Make the session a member; return the registered room.

        With `lagging_after` it is backfilled first: it has the messages up to that seq.
        """
        if room.key not in self:
            if room.is_ending:  # it has ended since it was looked up
                room = self._make_again(room)
            self._make_space()
            self._register(room)
            self._charge(room, session.link.address_key)
        room = self[room.key]
        if session not in room.members:
            self._idle.pop(room, None)
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
        self._settle(room)

    # How rooms end

    def note_trimmed(self, room: Room, seq: int) -> None:
        """Note that retention has deleted the messages up to `seq`; a room without any ends."""
        room.trim_tail(seq)
        self._settle(room)

    def begin_deletion(self, name: str) -> Room:
        """Let a room take no more messages and members; return it. Raises `Refused`.

        When all that is queued for it has been delivered, `delete` removes it.
        """
        room = self.get(names.fold(name))
        if room is None or not (room.members or room.head):
            raise Refused(ErrorCode.NO_SUCH_ROOM, f"there is no room {name[: names.MAX_NAME_CHARS]}")
        if room.key == LOBBY:
            raise Refused(ErrorCode.FORBIDDEN, "the lobby cannot be deleted: everybody arrives there")
        if room.is_ending:
            raise Refused(ErrorCode.UNAVAILABLE, f"the room {room.name} is being deleted already")
        room.is_ending, room.is_writable = True, False
        return room

    def cancel_deletion(self, room: Room) -> None:
        """Undo `begin_deletion`."""
        room.is_ending, room.is_writable = False, room.id != 0
        self._settle(room)

    def delete(self, room: Room) -> int:
        """Remove all members of a room, after `begin_deletion`, and end it; return how many there were.

        They get `left`; members that lagged get a `gap` first, for what they will not receive any more.
        """
        members = list(room.members)
        for session in members:
            membership = room.members[session]
            missing_after = membership.position
            self._backfill.drop_cursor(session, membership)
            room.remove_member(session)
            if missing_after < room.head:
                session.send(Gap(room=room.name, first=missing_after + 1, last=room.head))
            session.send(Left(room=room.name))
        self._remove(room)
        return len(members)

    def _settle(self, room: Room) -> None:
        """Decide what becomes of a room without members: it stays and is idle, or it ends."""
        if room.members or room.is_ending or self.get(room.key) is not room:
            return
        if not room.id and not room.is_queued:
            self._remove(room)
        elif room.key != LOBBY:
            if room.id and room.trimmed >= room.head and not self._ingest.holds(room):
                self._remove(room)
            else:
                self._idle.setdefault(room)

    def _make_space(self) -> None:
        """End the longest idle room, if there are as many rooms as there may be."""
        if not len(self) >= self._limits().max_public_rooms > 0:
            return
        for room in list(islice(self._idle, MAX_CANDIDATES)):
            if not room.is_queued and not room.is_ending and not self._ingest.holds(room):
                self._remove(room)
                return

    def _remove(self, room: Room) -> None:
        """Remove a room; if it is stored, queue its end."""
        del self[room.key]
        self._idle.pop(room, None)
        if room.key != LOBBY:
            self._names.remove_name(room.key)
        self._presence_updates.forget_room(room)
        if room.id:
            room.is_ending, room.is_writable = True, False
            room.drop_tail()
            self._ingest.end_room(room)
        elif room.made_by:  # never stored: it does not count as made
            self._made.charge(room.made_by, -1, self._limits().rate_rooms, self._clock.monotonic())

    # How they are made

    def _make(self, shown: str, key: str) -> Room:
        """Return a new room, not registered yet, or raise `Refused`."""
        if key != LOBBY:
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
        if key != LOBBY:
            room.head = room.trimmed = self._ended_head(key)
        return room

    def _make_again(self, ended: Room) -> Room:
        """Return a new room under the name of one that has just ended."""
        room = self._new_room(NewRoom(ended.name, ended.key))
        row = self._ingest.unstored_end(ended.key)
        room.head = room.trimmed = max(ended.head, row.head if row is not None else 0)
        return room

    def _ended_head(self, key: str) -> int:
        """Return the last seq of an earlier room of the name, which has ended; 0 if there was none."""
        ended = self._ingest.unstored_end(key)
        if ended is not None:
            return ended.head
        try:
            return self._registry.ended_head(key)
        except StoreUnavailable as error:
            raise Refused(ErrorCode.UNAVAILABLE, f"message store unavailable: {error}") from error

    def _register(self, room: Room) -> None:
        self[room.key] = room
        if room.key != LOBBY:
            self._names.add_name(room.name, room.key)

    def _charge(self, room: Room, address_key: str) -> None:
        if address_key and room.key != LOBBY:
            room.made_by = address_key
            self._made.charge(address_key, 1, self._limits().rate_rooms, self._clock.monotonic())


class NewRooms:
    """Rooms that one command enters: each that is new is compared once with those before it.

    `address_key`: of the peer that makes them, empty if it is exempt from limits per address.
    """

    def __init__(self, rooms: PublicRooms, address_key: str) -> None:
        self._rooms = rooms
        self._address_key = address_key
        self._keys: set[str] = set()
        self._new_count = 0
        self._idle_count = 0
        self._names = Confusables()

    def add(self, room: Room) -> None:
        """Add a room. Raises `Refused` if it is new, and may not be created together with the others."""
        if room.key in self._keys or room.key == LOBBY:
            return
        if room.key in self._rooms:
            self._keys.add(room.key)
            self._idle_count += self._rooms.is_idle(room)
            return
        self._rooms.check_making(self._new_count + 1, self._idle_count, self._address_key)
        alike = self._names.find_confusable(room.name, room.key)
        if alike is not None:
            raise Refused(
                ErrorCode.NAME_TAKEN,
                f"the room names {room.name} and {alike} look alike; join one of them",
            )
        self._names.add_name(room.name, room.key)
        self._keys.add(room.key)
        self._new_count += 1
