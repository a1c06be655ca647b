"""Transition tables written down a second time, as a test wants to see them; and which pairs are reached."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from chat_server.core.base.transitions import InvalidTransition, TransitionTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

StateT = TypeVar("StateT", bound=IntEnum)
EventT = TypeVar("EventT", bound=IntEnum)


def following_states(
    table: TransitionTable[StateT, EventT], states: type[StateT], events: type[EventT]
) -> str:
    """Return every pair of state and event with what follows: a line a state, `-` where none does."""
    return _matrix(table.next_state, states, events)


def applied_states(one: Any, states: type[StateT], events: type[EventT]) -> str:
    """Return the same, as the object's own `apply` has it. An event that it refuses MUST NOT change it."""

    def apply(state: StateT, event: EventT) -> StateT:
        one.state = state
        try:
            one.apply(event)
        except InvalidTransition:
            assert one.state is state
            raise
        following: StateT = one.state
        return following

    return _matrix(apply, states, events)


def _matrix(follow: Callable[[StateT, EventT], StateT], states: type[StateT], events: type[EventT]) -> str:
    lines = [["", *(event.name for event in events)]]
    for state in states:
        lines.append([state.name])
        for event in events:
            try:
                lines[-1].append(follow(state, event).name)
            except InvalidTransition:
                lines[-1].append("-")
    return "\n".join(" ".join(line).strip() for line in lines)


def words(text: str) -> str:
    """Return the text with single spaces, without indentation."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


class Reached:
    """The pairs of state and event that have happened, by table."""

    def __init__(self) -> None:
        self._pairs: defaultdict[object, set[tuple[IntEnum, IntEnum]]] = defaultdict(set)

    def add(self, table: object, state: IntEnum, event: IntEnum) -> None:
        self._pairs[table].add((state, event))

    def of(self, table: TransitionTable[Any, Any]) -> set[tuple[IntEnum, IntEnum]]:
        """Return the pairs of one table."""
        return self._pairs[table]


@contextmanager
def recording() -> Iterator[Reached]:
    """Record the pairs that happen, to any object."""
    reached = Reached()
    original = TransitionTable.next_state

    def next_state(table: TransitionTable[StateT, EventT], state: StateT, event: EventT) -> StateT:
        following = original(table, state, event)
        reached.add(table, state, event)
        return following

    with patch.object(TransitionTable, "next_state", next_state):
        yield reached


def pairs(table: TransitionTable[Any, Any]) -> list[tuple[Any, Any]]:
    """Return the pairs that may happen."""
    return [(state, event) for state, event, _ in table]


def pair_name(pair: object) -> str:
    """Return the name of a pair, for the id of a test."""
    assert isinstance(pair, tuple)
    return "-".join(each.name.lower() for each in pair)
