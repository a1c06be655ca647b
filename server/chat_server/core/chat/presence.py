"""Presence: joins and leaves of rooms, batched, so that a join storm does not multiply.

A room gets at most one presence event a second. In a large room the lists of names are left out, and the
count is sent at most every five seconds.
"""

from typing import Final

from chat_protocol.events import Presence
from chat_server.core.delivery.room import Room, User
from chat_server.core.ports.clock import Clock

PRESENCE_INTERVAL_S: Final = 0.9
"""Seconds between two presence events of a room; with the ticker's step, at most one second."""

LARGE_ROOM_INTERVAL_S: Final = 5.0
LARGE_ROOM_MEMBERS: Final = 100
"""Members above which a room gets the count only."""

FLUSHED_MEMBERS: Final = 100
"""Members that one flush sends events to, 1 ms, unless one room has more; other rooms wait for the next."""


class PresenceUpdates:
    """Rooms whose members have changed since their last presence event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[Room, None] = {}

    def note_joined(self, room: Room, user: User) -> None:
        """Note that a session of a user has joined; it cancels a leave of the same name."""
        if len(user.sessions) > 1 and sum(session in room.members for session in user.sessions) > 1:
            return  # another of its sessions is in the room already
        room.left_names.pop(user.name, None)
        room.joined_names[user.name] = None
        self._mark_changed(room)

    def note_left(self, room: Room, user: User) -> None:
        """Note a leave, even after a join that was not sent yet: others may have seen the name in `who`."""
        if room.has_user(user):
            return
        room.joined_names.pop(user.name, None)
        room.left_names[user.name] = None
        self._mark_changed(room)

    def note_renamed(self, room: Room, old: str, new: str) -> None:
        """List a user that has just joined under the new name.

        `renamed` is sent at once; a leave of the old name would be taken for the user that has it next.
        """
        newly_joined = room.joined_names.pop(old, 0) is None
        if room.left_names.pop(new, 0) == 0 and newly_joined:
            room.joined_names[new] = None

    def forget_room(self, room: Room) -> None:
        """Drop a room that no longer exists."""
        self._changed.pop(room, None)

    def flush(self) -> int:
        """Send presence events that are due, the oldest first; return the number of deliveries."""
        now = self._clock.monotonic()
        deliveries = 0
        for room in list(self._changed):
            large = room.user_count > LARGE_ROOM_MEMBERS
            if now - room.presence_sent_at < (LARGE_ROOM_INTERVAL_S if large else PRESENCE_INTERVAL_S):
                continue
            if deliveries and deliveries + len(room.members) > FLUSHED_MEMBERS:
                break
            del self._changed[room]
            deliveries += self._send_update(room, now, large=large)
        return deliveries

    def _mark_changed(self, room: Room) -> None:
        if room not in self._changed:
            self._changed[room] = None
            if len(room.members) <= 1:  # no other member waits for it
                room.presence_sent_at = self._clock.monotonic()
        if room.user_count > LARGE_ROOM_MEMBERS:
            room.joined_names.clear()
            room.left_names.clear()
        elif len(room.left_names) > LARGE_ROOM_MEMBERS:  # many came and went: the count is enough
            del room.left_names[next(iter(room.left_names))]

    @staticmethod
    def _send_update(room: Room, now: float, *, large: bool) -> int:
        joined, left = list(room.joined_names), list(room.left_names)
        room.joined_names.clear()
        room.left_names.clear()
        room.presence_sent_at = now
        if not room.members or not (large or joined or left):
            return 0
        event = Presence(
            room=room.name,
            count=room.user_count,
            joined=None if large else joined,
            left=None if large else left,
        )
        room.broadcast(event)
        return len(room.members)
