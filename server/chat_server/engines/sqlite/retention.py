"""What is kept too long: found by age at the log's beginning, by count through the index.

Knows the log and the index, and changes the index only. What is deleted of a room is always its oldest, so
one number says all: nothing of the room up to its `trimmed` is in the log. Runs in the archive's thread.
"""

import sqlite3
from typing import Final, NamedTuple

from chat_server.engines.sqlite.connect import transaction

TRIM_STEP_MESSAGES: Final = 500
"""Messages deleted at once. The hub does it, between commits, in a few milliseconds."""

SCAN_STEP_ROOMS: Final = 1000
"""Rooms looked at in one go, so that readers get in between."""


class SurplusMessage(NamedTuple):
    """A message that is to be deleted."""

    id: int
    room: int
    seq: int


def surplus_by_age(connection: sqlite3.Connection, before: float, last_id: int) -> list[SurplusMessage]:
    """Return the log's first messages up to one that is not older than `before`, never its last one."""
    query = "SELECT id, room, seq, at FROM log.log WHERE id < ? ORDER BY id LIMIT ?"
    cursor = connection.execute(query, (last_id, TRIM_STEP_MESSAGES))
    found = []
    try:
        for row, room, seq, at in cursor:
            if at >= before:
                break
            found.append(SurplusMessage(row, room, seq))
    finally:
        cursor.close()  # or it would hold up the checkpoints
    return found


def surplus_by_count(
    connection: sqlite3.Connection, rooms: range, keep: int, last_id: int
) -> list[SurplusMessage]:
    """Return messages of these rooms that have `keep` newer ones in their room (0: no limit), oldest first.

    Two seeks a room. Places of messages that are not in the log any more go away on the way: a process may
    have died, or the index been out of order, between the deletions here and there.
    """
    ends = connection.execute(
        "SELECT id, trimmed, (SELECT min(seq) FROM place WHERE room = rooms.id), "
        "(SELECT max(seq) FROM place WHERE room = rooms.id) FROM log.rooms WHERE id >= ? AND id < ?",
        (rooms.start, rooms.stop),
    ).fetchall()
    gone = {room: trimmed for room, trimmed, first, _ in ends if first is not None and first <= trimmed}
    if gone:
        delete_places(connection, gone)
    ranges = [
        (room, max(first, trimmed + 1), last - keep)
        for room, trimmed, first, last in (ends if keep else ())
        if first is not None and max(first, trimmed + 1) <= last - keep
    ][:TRIM_STEP_MESSAGES]
    # Of each room a few: in the log these are neighbours more often than many of one room, so fewer pages
    # change.
    share = TRIM_STEP_MESSAGES // max(len(ranges), 1)
    query = "SELECT id, room, seq FROM place WHERE room = ? AND seq >= ? AND seq <= ? AND id < ?"
    found: list[SurplusMessage] = []
    for room, begin, upto in ranges:
        rows = connection.execute(query, (room, begin, min(upto, begin + share - 1), last_id)).fetchall()
        found += [SurplusMessage(*row) for row in rows]
    return sorted(found)


def delete_places(connection: sqlite3.Connection, trimmed: dict[int, int]) -> None:
    """Delete the places of each room's messages up to the given seq."""
    with transaction(connection):
        connection.executemany("DELETE FROM place WHERE room = ? AND seq <= ?", trimmed.items())
