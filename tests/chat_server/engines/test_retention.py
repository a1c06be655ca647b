"""Retention against a list model: random writes, deletions, failures and restarts, in any order."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat_server.core.ports.log import StoredAt, StoreUnavailable
from chat_server.engines import memory
from chat_server.engines.memory import MemoryEngine
from chat_server.engines.sqlite import index, retention, upkeep
from support.engines.kinds import SetClock, open_sqlite
from support.engines.pen import Pen, Room, events

CONVERSATION = "@ann,bob"
SUFFIXES = ("", "-wal", "-mark", "-index", "-index-wal")
keeps = st.integers(0, 6)


class Said(NamedTuple):
    stored_at: StoredAt
    room: str
    seq: int
    text: str
    at: float


class Retention(RuleBasedStateMachine):
    """The model is the list of kept messages, in the order of the log."""

    in_memory: bool
    store: Any

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "db"
        self.kept: list[Said] = []
        self.heads: dict[str, int] = {}
        self.clock = SetClock()
        self.clock.now = 1000.0
        self.said = 0
        self.older: dict[str, bytes] | None = None  # a copy of an earlier index
        self.open()
        self.epoch = self.store.epoch

    def open(self) -> None:
        self.store = MemoryEngine(10**6, self.clock) if self.in_memory else open_sqlite(self.path, self.clock)
        if not self.in_memory:
            places, upkept = self.store.index, self.store._upkeep
            connections = places._connection, places._checkpoints, upkept._checkpoints
            for connection in (self.store._connection, *connections):
                connection.execute("PRAGMA synchronous = OFF")  # tests kill processes, not machines
        self.pen = Pen(self.store)
        for conversation in self.store.conversations_of([1]):
            self.pen.rooms[CONVERSATION] = Room.of(conversation.room)
        self.pen.rooms.setdefault(CONVERSATION, self.pen.conversation(CONVERSATION, (1, 2)))
        for name in "abc":
            self.pen.room(name)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(
        said=st.lists(st.sampled_from(["a", "b", "c", CONVERSATION]), min_size=1, max_size=6),
        later=st.integers(-40, 60),
    )
    def say(self, said: list[str], later: int) -> None:
        self.clock.now = max(self.clock.now + later, 1.0)
        texts = []
        for _ in said:
            self.said += 1
            texts.append(str(self.said))
        written = self.pen.write(
            *((self.pen.rooms[name], text) for name, text in zip(said, texts, strict=True))
        )
        for name, message in zip(said, written, strict=True):
            self.heads[name] = self.heads.get(name, 0) + 1
            assert message.seq == self.heads[name]
            assert message.event.timestamp == self.clock.now
            self.kept.append(Said(message.stored_at, name, message.seq, message.text, self.clock.now))

    def may_go(self, keep: int, before: float) -> set[tuple[str, int]]:
        """Return the messages to delete, by room and seq."""
        aged = []
        for one in self.kept[:-1] if before else ():
            if one.at >= before:
                break
            aged.append((one.room, one.seq))
        crowded = [
            (one.room, one.seq) for one in self.kept if keep and one.seq <= self.heads[one.room] - keep
        ]
        return {*aged, *crowded}

    def forget(self, trimmed: dict[int, int], allowed: set[tuple[str, int]]) -> None:
        """Remove from the model what the store reports as deleted."""
        names = {self.pen.rooms[name].id: name for name in self.heads}
        for room, seq in trimmed.items():
            gone = [one for one in self.kept if one.room == names[room] and one.seq <= seq]
            assert gone
            assert gone[-1].seq == seq
            assert {(one.room, one.seq) for one in gone} <= allowed
            self.kept = [one for one in self.kept if one not in gone]

    @rule(keep=keeps, age=st.none() | st.integers(0, 120), steps=st.integers(1, 40))
    def trim(self, keep: int, age: int | None, steps: int) -> None:
        before = self.clock.now - age if age is not None else 0.0
        for _ in range(steps):
            allowed = self.may_go(keep, before)
            trimmed = self.store.trim(keep=keep, before=before)
            assert bool(trimmed) == bool(allowed)
            self.forget(trimmed, allowed)
            if not trimmed:
                break

    @precondition(lambda self: not self.in_memory)
    @rule(keep=keeps, die=st.booleans())
    def trim_by_half(self, keep: int, die: bool) -> None:
        """Delete from the log, then fail on the index; the process may die, too."""
        allowed = self.may_go(keep, 0.0)
        broken = patch.object(
            self.store.index, "delete_places", side_effect=sqlite3.OperationalError("disk I/O error")
        )
        with broken, suppress(StoreUnavailable):
            assert self.store.trim(keep=keep, before=0.0) == {}
        # Empty if stale entries had to be deleted first.
        trimmed = dict(self.store._upkeep._deleted_unindexed)
        self.forget(trimmed, allowed)
        if die:
            self.reopen(killed=True, old_index=False)
        elif trimmed:
            assert self.store.trim(keep=0, before=0.0) == trimmed

    @precondition(lambda self: not self.in_memory)
    @rule()
    def maintain(self) -> None:
        self.store.maintain()

    @precondition(lambda self: not self.in_memory)
    @rule()
    def remember_index(self) -> None:
        self.older = {name: data for name, data in self.snapshot().items() if "-index" in name}

    @precondition(lambda self: not self.in_memory)
    @rule(killed=st.booleans(), old_index=st.booleans())
    def reopen(self, killed: bool, old_index: bool) -> None:
        files = self.snapshot()
        self.store.close()
        if killed:
            self.put_back(files)
        if old_index and self.older is not None:
            self.put_back(self.older)
        self.open()
        assert (self.store.epoch, self.store.epoch_changed) == (self.epoch, False)

    def snapshot(self) -> dict[str, bytes]:
        files = {suffix: Path(f"{self.path}{suffix}") for suffix in SUFFIXES}
        return {suffix: file.read_bytes() for suffix, file in files.items() if file.exists()}

    def put_back(self, files: dict[str, bytes]) -> None:
        """Restore the files in place: the tail guard checks the inode of the log."""
        for suffix, data in files.items():
            Path(f"{self.path}{suffix}").write_bytes(data)

    @invariant()
    def reads_are_what_is_kept(self) -> None:
        for name, head in self.heads.items():
            room = self.pen.rooms[name]
            assert room.head == head
            kept = [(one.seq, one.text) for one in self.kept if one.room == name]
            for newest in (False, True):
                found = events(self.store, room, newest=newest)
                assert [(event.seq, event.message) for event in found] == kept
        for one in self.kept[:1] + self.kept[-1:]:
            found = self.store.find(one.stored_at)
            assert (found.room, found.seq, found.message) == (one.room, one.seq, one.text)


@pytest.mark.parametrize("in_memory", [False, True], ids=["sqlite", "memory"])
def test_trim_in_any_play_keeps_reads_equal_to_model(
    monkeypatch: pytest.MonkeyPatch, *, in_memory: bool
) -> None:
    monkeypatch.setattr(retention, "TRIM_STEP_MESSAGES", 3)
    monkeypatch.setattr(memory, "TRIM_STEP_MESSAGES", 3)
    monkeypatch.setattr(upkeep, "SCAN_STEP_ROOMS", 2)
    monkeypatch.setattr(index, "INDEX_STEP_ROWS", 7)
    machine: Any = type("Machine", (Retention,), {"in_memory": in_memory})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
