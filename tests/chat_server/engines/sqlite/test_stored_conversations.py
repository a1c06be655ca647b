"""Stored conversations after a restart: their users, heads and states."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from chat_server.core.ports.records import (
    ConversationState,
    IdentityRecord,
    RegistryChanges,
    RoomRecord,
    SessionRecord,
)
from chat_server.core.ports.store import StoreUnavailable
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.log import SqliteStore

if TYPE_CHECKING:
    from chat_server.engines.conftest import Pen

Open = Callable[..., SqliteStore]
USERS = {1: "ann", 2: "bob", 3: "cat", 4: "dan"}


@pytest.fixture
def pen(open_store: Open, make_pen: type[Pen]) -> Pen:
    """A writer to a store with four users."""
    pen = make_pen(open_store())
    batch = pen.batch()
    batch.registry_changes = RegistryChanges(identities=[IdentityRecord(*one) for one in USERS.items()])
    pen.store.append(batch)
    return pen


def save_states(pen: Pen, *states: ConversationState, rooms: tuple[RoomRecord, ...] = ()) -> None:
    batch = pen.batch()
    batch.registry_changes = RegistryChanges(conversation_states=[*states], rooms=[*rooms])
    pen.store.append(batch)


def shown(store: SqliteStore, *identities: int) -> dict[str, tuple[int | None, int | None]]:
    return {
        conversation.room.name: (conversation.since, conversation.closed_by)
        for conversation in store.conversations_of(set(identities))
    }


def test_conversations_of_identity_are_all_read_after_restart(pen: Pen, open_store: Open) -> None:
    pairs = {(1, 2): 3, (2, 3): 1, (3, 4): 1, (1, 4): 2}
    for (low, high), count in pairs.items():
        room = pen.conversation(f"@{USERS[low]},{USERS[high]}", (low, high))
        for number in range(count):
            pen.write((room, str(number)))
    pen.say("lobby", "everybody")
    batch = pen.batch()
    batch.registry_changes = RegistryChanges(renamed_sessions=[SessionRecord("s2", 2, "bobby", b"")])
    pen.store.append(batch)
    pen.store.close()

    store = open_store()
    found = {conversation.room.pair: conversation for conversation in store.conversations_of([1])}
    assert found.keys() == {(1, 2), (1, 4)}
    conversation = found[1, 2]
    assert (conversation.room.name, conversation.room.key, conversation.room.seq) == (
        "@ann,bob",
        "@ann,bob",
        3,
    )
    assert conversation.names == ("ann", "bobby")
    assert (conversation.since, conversation.closed_by) == (None, None)
    assert [event.message for event in store.read(conversation.room, 0, 9, 9, newest=False)] == [
        "0",
        "1",
        "2",
    ]
    assert {conversation.room.pair for conversation in store.conversations_of([2, 3, 99])} == {
        (1, 2),
        (2, 3),
        (3, 4),
    }
    assert store.conversations_of([]) == []
    assert not store._connection.execute("SELECT name FROM temp.sqlite_master").fetchall()


def test_conversation_state_survives_restart(pen: Pen, open_store: Open) -> None:
    room = pen.conversation("@ann,bob", (1, 2)).record
    save_states(pen, ConversationState(room, 0), rooms=(room,))  # created and opened in one batch
    assert room.id
    other = pen.conversation("@ann,cat", (1, 3))
    pen.write((other, "hi"))
    save_states(
        pen,
        ConversationState(other.record, 0),
        ConversationState(other.record, None),
        ConversationState(other.record, 1),
    )
    store = pen.store
    for expected, state in (
        ((0, None), None),
        ((7, None), ConversationState(room, 7)),
        ((7, 2), ConversationState(room, 7, 2)),
        ((None, 2), ConversationState(room, None, 2)),
        ((None, None), ConversationState(room, None)),
    ):
        if state is not None:
            save_states(pen, state)
        store.close()
        pen.store = store = open_store()
        assert shown(store, 1) == {"@ann,bob": expected, "@ann,cat": (1, None)}


def test_conversation_without_resumable_users_is_closed(pen: Pen) -> None:
    rooms = {pair: pen.conversation("@x,y", pair).record for pair in ((1, 2), (2, 3), (3, 4))}
    save_states(pen, *(ConversationState(room, 0) for room in rooms.values()), rooms=tuple(rooms.values()))
    assert shown(pen.store, 1) == {"@x,y": (0, None)}
    open_ones = [
        conversation.room.pair
        for conversation in pen.store.conversations_of(USERS)
        if conversation.since is not None
    ]
    assert open_ones == [(1, 2)]


def test_conversations_of_many_identities_are_found_by_index(pen: Pen) -> None:
    batch = pen.batch()
    rooms = [RoomRecord(f"@{n}", f"@{n}", pair=(n, n + 1)) for n in range(10, 1000)]
    batch.registry_changes = RegistryChanges(rooms=rooms)
    pen.store.append(batch)
    assert len(pen.store.conversations_of(range(20_000))) == len(rooms)
    connection = pen.store._connection
    connection.execute("CREATE TEMP TABLE back (id INTEGER PRIMARY KEY)")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {registry._CONVERSATION_IDS}")]
    connection.execute("DROP TABLE back")
    assert sum(step.startswith("SEARCH rooms USING") for step in plan) == 2, plan
    assert not any(step.startswith("SCAN rooms") for step in plan), plan


def test_conversations_of_unreadable_log_raises_unavailable(pen: Pen) -> None:
    pen.store._connection.execute("DROP TABLE standings")
    with pytest.raises(StoreUnavailable, match="no such table"):
        pen.store.conversations_of([1])
    with pytest.raises(StoreUnavailable, match="no such table"):  # and not: table back already exists
        pen.store.conversations_of([1])
