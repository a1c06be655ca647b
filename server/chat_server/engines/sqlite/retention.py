"""Retention: finds messages over the limits, by age at the start of the log, by count through the index.

MUST NOT change the log: it changes the index only. Deleted messages are always the oldest of their room, so
one number a room is enough: the log has no message of the room with a seq up to `trimmed`. Runs in the reader
thread.
"""

import sqlite3
from typing import Final, NamedTuple

from chat_server.engines.sqlite.connect import transaction

TRIM_STEP_MESSAGES: Final = 500
"""Messages deleted in one step: a few milliseconds of the event loop, between commits."""


class SurplusMessage(NamedTuple):
    """Position of a message to delete."""

    id: int
    room: int
    seq: int


def surplus_by_age(connection: sqlite3.Connection, before: float, last_id: int) -> list[SurplusMessage]:
    """Return the first messages of the log, if older than `before` (s since 1970), never its last one."""
    query = "SELECT id, room, seq, at FROM log.log WHERE id < ? ORDER BY id LIMIT ?"
    cursor = connection.execute(query, (last_id, TRIM_STEP_MESSAGES))
    found = []
    try:
        for row, room, seq, at in cursor:
            if at >= before:
                break
            found.append(SurplusMessage(row, room, seq))
    finally:
        cursor.close()  # an open cursor would hold up checkpoints
    return found


def surplus_by_count(
    connection: sqlite3.Connection, rooms: range, keep: int, last_id: int
) -> list[SurplusMessage]:
    """Return messages of these rooms that have `keep` newer ones in their room (0: no limit), oldest first.

    Two index seeks a room. Also deletes index entries of messages that are no longer in the log: the process
    may have died, or the index been damaged, between the deletion from the log and the one from the index.
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
    # A few of each room: these are adjacent in the log more often than many of one room, so fewer pages
    # change.
    share = TRIM_STEP_MESSAGES // max(len(ranges), 1)
    query = "SELECT id, room, seq FROM place WHERE room = ? AND seq >= ? AND seq <= ? AND id < ?"
    found: list[SurplusMessage] = []
    for room, begin, upto in ranges:
        rows = connection.execute(query, (room, begin, min(upto, begin + share - 1), last_id)).fetchall()
        found += [SurplusMessage(*row) for row in rows]
    return sorted(found)


def surplus_hidden(
    connection: sqlite3.Connection, rooms: dict[int, int], last_id: int
) -> tuple[list[SurplusMessage], list[int]]:
    """Return messages of these rooms up to the given seqs, oldest first, and the rooms that have none left.

    The last message of the log is not returned.
    """
    query = "SELECT id, room, seq FROM place WHERE room = ? AND seq <= ? ORDER BY seq LIMIT ?"
    found: list[SurplusMessage] = []
    empty = []
    for room, upto in rooms.items():
        left = TRIM_STEP_MESSAGES - len(found)
        if not left:
            break
        rows = connection.execute(query, (room, upto, left)).fetchall()
        found += [SurplusMessage(*row) for row in rows if row[0] != last_id]
        if not rows:
            empty.append(room)
    return sorted(found), empty


def delete_places(connection: sqlite3.Connection, trimmed: dict[int, int]) -> None:
    """Delete the index entries of each room up to the given seq."""
    with transaction(connection):
        connection.executemany("DELETE FROM place WHERE room = ? AND seq <= ?", trimmed.items())
