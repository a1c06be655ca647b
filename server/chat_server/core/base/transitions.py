"""Transition tables: which state follows a state and an event. The docs draw their diagrams from them."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Generic, TypeVar

StateT = TypeVar("StateT", bound=IntEnum)
EventT = TypeVar("EventT", bound=IntEnum)


class InvalidTransition(Exception):  # noqa: N818  named for what happened
    """Raised for an event that a state does not allow: a bug of ours."""


class TransitionTable(Generic[StateT, EventT]):
    """The state that follows each state and event. A pair that is missing MUST NOT happen."""

    def __init__(self, rows: Mapping[StateT, Mapping[EventT, StateT]]) -> None:
        self._rows = rows

    def next_state(self, state: StateT, event: EventT) -> StateT:
        """Return the state that follows, or raise `InvalidTransition`."""
        try:
            return self._rows[state][event]
        except KeyError:
            raise InvalidTransition(f"{event.name} in state {state.name}") from None

    def __iter__(self) -> Iterator[tuple[StateT, EventT, StateT]]:
        """Yield (state, event, next state) of all pairs that may happen."""
        for state, row in self._rows.items():
            for event, following in row.items():
                yield state, event, following
