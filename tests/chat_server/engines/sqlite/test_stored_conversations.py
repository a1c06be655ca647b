"""Stored conversations in SQLite: how they are found, and tables that cannot be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import NewRoom, RegistryChanges
from chat_server.engines.sqlite import registry
from chat_server.engines.sqlite.log import SqliteEngine

Open = Callable[..., SqliteEngine]


def test_conversations_of_many_identities_are_found_by_index(open_store: Open) -> None:
    store = open_store()
    rooms = [NewRoom(f"@{n}", f"@{n}", (n, n + 1)) for n in range(10, 1000)]
    store.write(RegistryChanges(rooms=rooms))
    assert len(store.conversations_of(range(20_000))) == len(rooms)
    connection = store._connection
    assert not connection.execute("SELECT name FROM temp.sqlite_master").fetchall()
    connection.execute("CREATE TEMP TABLE back (id INTEGER PRIMARY KEY)")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {registry._CONVERSATION_IDS}")]
    connection.execute("DROP TABLE back")
    assert sum(step.startswith("SEARCH rooms USING") for step in plan) == 2, plan
    assert not any(step.startswith("SCAN rooms") for step in plan), plan


def test_conversations_of_unreadable_log_raises_unavailable(open_store: Open) -> None:
    store = open_store()
    store._connection.execute("DROP TABLE standings")
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.conversations_of([1])
    with pytest.raises(StoreUnavailable, match="no such table"):  # and not: table back already exists
        store.conversations_of([1])
