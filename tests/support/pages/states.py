"""Draws the transition tables of the server into docs/topics/states.md, with what their docstrings say.

`PYTHONPATH=tests python -m support.pages.states` puts a diagram in Mermaid's notation, and the meaning of
each state and event, between the markers of each table; tests/docs/test_states.py checks that.
"""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from chat_server.core.base.transitions import TransitionTable
from chat_server.core.chat.conversation import CONVERSATION_TRANSITIONS, ConversationEvent, ConversationState
from chat_server.core.sessions.lifecycle import SESSION_TRANSITIONS, SessionEvent, SessionState
from chat_server.core.sessions.membership import MEMBERSHIP_TRANSITIONS, MembershipEvent, MembershipState
from support.pages.picture import filled

PAGE: Final = Path(__file__).parents[3] / "docs" / "topics" / "states.md"


class Machine(NamedTuple):
    """A transition table, with its states (the first one is that of a new object) and its events."""

    table: TransitionTable[Any, Any]
    states: type[IntEnum]
    events: type[IntEnum]


MACHINES: Final[Mapping[str, Machine]] = {
    "session": Machine(SESSION_TRANSITIONS, SessionState, SessionEvent),
    "membership": Machine(MEMBERSHIP_TRANSITIONS, MembershipState, MembershipEvent),
    "conversation": Machine(CONVERSATION_TRANSITIONS, ConversationState, ConversationEvent),
}


def drawn(page: str) -> str:
    """Return the page with each table between its markers. Raises `ValueError` if a marker is missing."""
    return filled(page, {name: _block(machine) for name, machine in MACHINES.items()})


def diagram(machine: Machine) -> str:
    """Return a state diagram: an arrow has all events that lead from one state to the other."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, event, following in machine.table:
        arrows.setdefault((state.name, following.name), []).append(event.name)
    first = next(iter(machine.states)).name
    lines = [f"    [*] --> {first}"]
    lines += [f"    {one} --> {other}: {', '.join(events)}" for (one, other), events in arrows.items()]
    left = {one for one, _ in arrows}
    lines += [f"    {state.name} --> [*]" for state in machine.states if state.name not in left]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def meanings(enum: type[IntEnum]) -> Mapping[str, str]:
    """Return the docstring of each member, which is the string behind its assignment."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(node, ast.ClassDef)
    return dict(_documented(node.body))


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())


def _block(machine: Machine) -> str:
    return (
        "\n".join(
            [diagram(machine), _table("state", machine.states), _table("event", machine.events)]
        ).rstrip("\n")
        + "\n"
    )


def _table(title: str, enum: type[IntEnum]) -> str:
    """Return a row for each member, with its meaning. Raises `KeyError` if one has no docstring."""
    texts = meanings(enum)
    rows = [f"| `{member.name}` | {texts[member.name]} |" for member in enum]
    return "\n".join([f"| {title} | meaning |", "|---|---|", *rows, ""])


def main() -> None:
    """Write the page."""
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
