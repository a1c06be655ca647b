from __future__ import annotations

import sys
import typing
from typing import TYPE_CHECKING, Final

import pytest

from chat_protocol import commands
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_server.core.commands.router import TABLE
from chat_server.core.identity import permissions
from chat_server.core.identity.permissions import Action
from support.core_stage.moves import cut, hello_again, send_to
from support.core_stage.permissions import ASKING

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


ASKED: Final[dict[commands.Command, set[Action]]] = {
    commands.Message(message="hi", room="lobby"): {Action.SEND},
    commands.Message(message="hi", room="@ann,bob"): {Action.SEND},
    commands.Message(message="hi", to="bob"): set(),
    commands.Say(username="ann", message="hi"): {Action.SEND},
    commands.Say(username="ann", message="hi", room="lobby"): {Action.SEND},
    commands.Say(username="ann", message="hi", room="ops"): {Action.JOIN, Action.SEND},
    commands.Say(username="ann", message="hi", to="bob"): set(),
    commands.Ping(): set(),
    commands.Pong(id="1"): set(),
    commands.Hello(username="ann"): set(),
    commands.Arrive(): set(),
    commands.Rename(username="anna"): set(),
    commands.Quit(): set(),
    commands.Help(): set(),
    commands.Join(room="a"): {Action.JOIN},
    commands.Join(room="lobby"): {Action.JOIN},
    commands.Leave(room="lobby"): set(),
    commands.Switch(room="a"): {Action.JOIN},
    commands.Rooms(): set(),
    commands.History(room="lobby"): {Action.READ},
    commands.History(room="@ann,bob"): {Action.READ},
    commands.Open(peer="bob"): set(),
    commands.Close(peer="bob"): set(),
    commands.Who(): set(),
    commands.Who(room="lobby"): {Action.LIST},
    commands.Servers(): set(),
    commands.Rtt(): set(),
    commands.Rtt(username="bob"): set(),
}
"""What commands of a named session ask for; most are about no room, and a name is enough for them."""


def test_router_table_has_every_command() -> None:
    assert set(TABLE) == set(typing.get_args(commands.AnyCommand))


@pytest.mark.parametrize("command", TABLE, ids=lambda command: command.__name__)
def test_router_asks_for_the_action_of_the_row_before_hello(
    stage: Stage, command: type[commands.Command]
) -> None:
    examples = (one for one in ASKED if type(one) is command)
    stage.connect().execute(next(examples))
    asked = stage.asked.by_command[command]
    assert TABLE[command].needs in asked
    assert asked <= ({Action.CONNECT, Action.SEND} if command is commands.Say else {TABLE[command].needs})


@pytest.mark.parametrize("command", ASKED, ids=lambda command: type(command).__name__)
def test_command_asks_for_the_action_of_its_row(stage: Stage, command: commands.Command) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    send_to(stage, bob, "ann")
    stage.asked.by_command.clear()
    ann.execute(command)
    assert stage.asked.by_command.get(type(command), set()) == ASKED[command]


def test_hello_that_resumes_asks_to_read_its_conversations(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    send_to(stage, bob, "ann")
    cut(ann)
    stage.asked.by_command.clear()
    stage.connect().execute(hello_again(ann, **{"@ann,bob": 0}))
    assert stage.asked.by_command == {commands.Hello: {Action.CONNECT, Action.READ}}


def test_every_module_that_asks_is_watched_by_the_stage() -> None:
    asking = [
        module
        for name, module in sys.modules.items()
        if name.startswith("chat_server.") and vars(module).get("may") is permissions.may
    ]
    assert {*asking} == {*ASKING, permissions}


@pytest.mark.parametrize(
    "command",
    [
        commands.Message(message="hi", ref="r"),
        commands.Join(room="lobby", ref="r"),
        commands.Leave(room="lobby", ref="r"),
        commands.Open(peer="ann", ref="r"),
        commands.Close(peer="ann", ref="r"),
        commands.Rooms(ref="r"),
        commands.Who(ref="r"),
        commands.Servers(ref="r"),
        commands.History(room="lobby", ref="r"),
        commands.Rtt(ref="r"),
        commands.Ping(ref="r"),
        commands.Rename(username="ann", ref="r"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_router_refuses_commands_before_hello(stage: Stage, command: commands.Command) -> None:
    peer = stage.connect()
    peer.execute(command)
    error = peer.receive_one("error")
    assert (error["code"], error["ref"]) == ("hello_first", "r")
    # A ping measures the server before one is chosen, which is no error
    is_measuring = isinstance(command, commands.Ping)
    assert stage.hub.stats.errors == ({} if is_measuring else {"hello_first": 1})
    assert not stage.hub.directory
    peer.execute(commands.Hello(username="ann"))
    assert peer.receive_one("welcome")["username"] == "ann"


def test_quit_before_hello_is_accepted(stage: Stage) -> None:
    peer = stage.connect()
    peer.execute(commands.Quit(ref="q"))
    assert (peer.link.ended, peer.link.bye_ref) == ("quit", "q")


def test_fault_is_answered_in_order(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.execute(commands.Ping(id=1))
    ann.execute(Fault(ErrorCode.BAD_FRAME, "no", ref="f"))
    ann.execute(commands.Ping(id=2))
    assert [frame["type"] for frame in ann.receive()] == ["pong", "error", "pong"]
    assert stage.hub.stats.errors["bad_frame"] == 1
    assert ann.link.ended is None


def test_fault_that_ends_the_session_waits_for_own_messages(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message(ref="1")
    ann.execute(Fault(ErrorCode.FRAME_TOO_LARGE, "no", bye=ByeReason.FRAME_TOO_LARGE))
    assert [frame["type"] for frame in ann.receive()] == ["error", "message"]
    assert ann.link.ended == "frame_too_large"


def test_router_counts_received_bytes(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.execute(commands.Ping(), size=17)
    assert stage.hub.stats.bytes_in == 17
    ann.execute(commands.Rename(username="@"))
    assert stage.hub.stats.errors["name_invalid"] == 1
