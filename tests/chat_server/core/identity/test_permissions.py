"""Permissions: each action in each situation, on real sessions and rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from chat_protocol import commands
from chat_server.core.identity.permissions import Action, may
from support.core_stage.moves import close_with, send_to
from support.transition_matrix import words

if TYPE_CHECKING:
    from chat_server.core.delivery.room import Room, Session
    from support.core_stage.stage import Stage

SITUATIONS: Final = (
    *("unnamed", "named", "member", "not_member", "no_room"),
    *("own_open", "own_closed", "others", "no_conversation"),
)


class Case(NamedTuple):
    """A session that asks, the room that it asks about, if there is one, and the name that it gave."""

    actor: Session
    room: Room | None = None
    name: str = ""


def cases(stage: Stage) -> dict[str, Case]:
    """Return the situations by name."""
    ann, bob, cid = stage.enter("ann", "a"), stage.enter("bob", "a", "b"), stage.enter("cid")
    send_to(stage, bob, "ann")
    send_to(stage, cid, "ann")
    send_to(stage, cid, "bob")
    close_with(cid, "ann")
    conversations = {name: one.room for name, one in stage.hub.conversations.by_name.items()}
    rooms = {**stage.hub.rooms, **conversations}
    session = ann.session

    def about(name: str) -> Case:
        return Case(session, rooms.get(name), name)

    return {
        "unnamed": Case(stage.connect().session, rooms["a"], "a"),
        "named": Case(session),
        "member": about("a"),
        "not_member": about("b"),
        "no_room": about("nowhere"),
        "own_open": about("@ann,bob"),
        "own_closed": about("@ann,cid"),
        "others": about("@bob,cid"),
        "no_conversation": about("@no,body"),
    }


def test_each_action_is_permitted_or_refused_in_each_situation(stage: Stage) -> None:
    lines = [" ".join(SITUATIONS)]
    by_name = cases(stage)
    for action in Action:
        asked = [by_name[situation] for situation in SITUATIONS]
        refusals = [may(one.actor, action, one.room, one.name) for one in asked]
        codes = ["yes" if refused is None else refused.code.value for refused in refusals]
        lines.append(" ".join([action.name, *codes]))
    assert "\n".join(lines) == words("""
                 unnamed      named       member  not_member  no_room     own_open   own_closed  others     no_conversation
        CONNECT  yes          yes         yes     yes         yes         yes        yes         yes        yes
        USE      hello_first  yes         yes     yes         yes         yes        yes         yes        yes
        JOIN     hello_first  yes         yes     yes         yes         forbidden  forbidden   forbidden  forbidden
        SEND     hello_first  not_joined  yes     not_joined  not_joined  yes        yes         forbidden  forbidden
        READ     hello_first  not_joined  yes     not_joined  not_joined  yes        yes         forbidden  forbidden
        LIST     hello_first  yes         yes     yes         yes         yes        yes         forbidden  forbidden
    """)  # noqa: E501  a line an action


@pytest.mark.parametrize("action", Action)
def test_conversation_of_others_is_refused_as_if_it_did_not_exist(stage: Stage, action: Action) -> None:
    found = cases(stage)
    others, none = found["others"], found["no_conversation"]
    assert others.room is not None
    assert none.room is None
    refused = may(others.actor, action, others.room, others.name)
    as_if = may(none.actor, action, none.room, none.name)
    assert (refused is None) == (as_if is None)
    if refused is not None and as_if is not None:
        assert vars(refused) == vars(as_if)


def test_commands_about_a_conversation_of_others_are_answered_as_if_it_did_not_exist(stage: Stage) -> None:
    cases(stage)
    eve = stage.enter("eve")
    answers = []
    for name in ("@bob,cid", "@no,body"):
        for command in (
            commands.Message(message="hi", room=name),
            commands.History(room=name),
            commands.Who(room=name),
            commands.Join(room=name),
            commands.Switch(room=name),
            commands.Leave(room=name),
        ):
            eve.execute(command)
            error = eve.receive_one("error")
            answers.append((error["code"], error["message"].replace(name, "NAME")))
    assert answers[:6] == answers[6:]


def test_refusal_names_the_room_that_was_asked_for_up_to_a_bound(stage: Stage) -> None:
    ann = stage.enter("ann")
    refused = may(ann.session, Action.SEND, None, "x" * 100)
    assert refused is not None
    assert refused.message == f"you are not in {'x' * 80}; join it first"


def test_member_of_a_room_of_the_same_name_as_another_s_is_not_its_member(stage: Stage) -> None:
    """Memberships go by the key of the room, in which case and composition do not matter."""
    ann = stage.enter("ann", "Café")
    for name in ("café", "CAFE\u0301"):
        assert stage.hub.check_access(ann.session, Action.SEND, name) is stage.hub.rooms["café"]
