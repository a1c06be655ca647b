from __future__ import annotations

import typing
from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_server.core.commands.router import TABLE

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_router_table_has_every_command() -> None:
    assert set(TABLE) == set(typing.get_args(commands.AnyCommand))


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
