"""Transition tables written down a second time, as a test wants to see them: one line a state."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from chat_server.core.base.transitions import InvalidTransition, TransitionTable

StateT = TypeVar("StateT", bound=IntEnum)
EventT = TypeVar("EventT", bound=IntEnum)


def following_states(
    table: TransitionTable[StateT, EventT], states: type[StateT], events: type[EventT]
) -> str:
    """Return every pair of state and event with what follows: a line a state, `-` where none does."""
    lines = [["", *(event.name for event in events)]]
    for state in states:
        lines.append([state.name])
        for event in events:
            try:
                lines[-1].append(table.next_state(state, event).name)
            except InvalidTransition:
                lines[-1].append("-")
    return "\n".join(" ".join(line).strip() for line in lines)


def words(text: str) -> str:
    """Return the text with single spaces, without indentation."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
