"""docs/topics/states.md shows the transition tables of the code, in Mermaid's notation."""

import re

import pytest

from support.pages import states


def test_tables_are_drawn_from_the_code() -> None:
    page = states.PAGE.read_text(encoding="utf-8")
    assert page == states.drawn(page), "run PYTHONPATH=tests python -m support.pages.states"


@pytest.mark.parametrize("machine", states.MACHINES.values(), ids=states.MACHINES)
def test_diagram_has_every_transition(machine: states.Machine) -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+): (\w+(?:, \w+)*)$", states.diagram(machine), re.MULTILINE)
    shown = {(one, event, other) for one, other, events in arrows for event in events.split(", ")}
    assert shown == {(state.name, event.name, following.name) for state, event, following in machine.table}


@pytest.mark.parametrize("machine", states.MACHINES.values(), ids=states.MACHINES)
def test_diagram_is_in_the_notation_of_mermaid(machine: states.Machine) -> None:
    begin, kind, *lines, end, last = states.diagram(machine).split("\n")
    assert (begin, kind, end, last) == ("```mermaid", "stateDiagram-v2", "```", "")
    for line in lines:
        assert re.fullmatch(r"    (\w+|\[\*\]) --> (\w+|\[\*\])(: [\w, ]+)?", line), line


@pytest.mark.parametrize("machine", states.MACHINES.values(), ids=states.MACHINES)
def test_every_state_and_event_has_a_meaning(machine: states.Machine) -> None:
    for enum in (machine.states, machine.events):
        meanings = states.meanings(enum)
        assert list(meanings) == [member.name for member in enum]
        assert all(text.endswith(".") for text in meanings.values())
