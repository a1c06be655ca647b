from __future__ import annotations

from enum import IntEnum

import pytest

from chat_server.core.base.transitions import InvalidTransition, TransitionTable


class Door(IntEnum):
    SHUT = 0
    OPEN = 1


class Act(IntEnum):
    PUSH = 0
    LOCK = 1


TABLE = TransitionTable[Door, Act]({Door.SHUT: {Act.PUSH: Door.OPEN, Act.LOCK: Door.SHUT}, Door.OPEN: {}})


def test_next_state_follows_the_table() -> None:
    assert TABLE.next_state(Door.SHUT, Act.PUSH) is Door.OPEN
    assert TABLE.next_state(Door.SHUT, Act.LOCK) is Door.SHUT


def test_missing_pair_is_an_error_that_names_both() -> None:
    with pytest.raises(InvalidTransition, match="LOCK in state OPEN"):
        TABLE.next_state(Door.OPEN, Act.LOCK)


def test_table_lists_its_transitions() -> None:
    assert list(TABLE) == [(Door.SHUT, Act.PUSH, Door.OPEN), (Door.SHUT, Act.LOCK, Door.SHUT)]
