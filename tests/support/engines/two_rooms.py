"""A data file with the messages of two rooms by turns, for tests of the index: written, and checked."""

from chat_server.engines.engine import IndexRebuilt
from chat_server.engines.sqlite.log import SqliteEngine
from support.engines.pen import Pen, Room, events

ROWS = 300
"""Messages of each room; the text of seq N in room a is `aN`."""


def write_two_rooms(store: SqliteEngine) -> None:
    """Write the messages, index them, and close the store."""
    pen = Pen(store)
    for number in range(1, ROWS + 1):
        pen.write((pen.room("a"), f"a{number}"), (pen.room("b"), f"b{number}"))
    store.maintain()
    store.close()


def rooms_of(store: SqliteEngine) -> dict[str, Room]:
    return {row.name: Room.of(row) for row in store.public_rooms()}


def rebuilt(store: SqliteEngine) -> list[str]:
    return [one.reason for one in store.take_notices() if isinstance(one, IndexRebuilt)]


def check(store: SqliteEngine) -> None:
    """Check that everything is read as it was written, in both directions, and nothing is called lost."""
    for name, room in rooms_of(store).items():
        assert room.head == ROWS
        for newest in (False, True):
            assert [(one.seq, one.message) for one in events(store, room, newest=newest)] == [
                (seq, f"{name}{seq}") for seq in range(1, ROWS + 1)
            ]
    assert store.unreadable_messages == 0
