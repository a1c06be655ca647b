"""Deleting a public room, as the operator asks for it. `delete_room` may wait."""

from typing import NamedTuple

from chat_server.core.chat.hub import Hub
from chat_server.core.delivery.room import Session


class Deletion(NamedTuple):
    """What was deleted: the room's name, its last seq, and how many members it had.

    `is_stored`: whether the store has it; if it fails just now, it gets it later.
    """

    name: str
    head: int
    members: int
    is_stored: bool


def delete_room(hub: Hub, session: Session, name: str) -> Deletion:
    """Delete a public room with its messages; `session` is the operator's. May wait. Raises `Refused`.

    What was sent to it before is delivered and acknowledged first; then its members get `left`.
    """
    room = hub.rooms.begin_deletion(name)
    try:
        hub.wait_delivered(session)
    except BaseException:
        hub.rooms.cancel_deletion(room)
        raise
    members = hub.rooms.delete(room)
    signal = session.link.new_signal()
    barrier = hub.ingest.add_barrier(signal)
    session.link.wait(signal)
    return Deletion(room.name, room.head, members, not barrier.failed)
