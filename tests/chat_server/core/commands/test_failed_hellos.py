"""A hello that tries things out is counted for its address, and put off where too many have failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_server.core.base.limits import Limits

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


@pytest.mark.parametrize(
    ("hello", "counted"),
    [
        (commands.Hello(username="ann"), 1),
        (commands.Hello(username="a b"), 1),
        (commands.Hello(username="server"), 1),
        (commands.Hello(username="bob", rooms=["a b"]), 1),
        (commands.Hello(username="bob", resume=commands.Resume(session="guessed")), 1),
        (commands.Hello(username="ann", resume=commands.Resume(session="guessed")), 1),
        (commands.Hello(username="bob", rooms=["1", "2", "3"], resume=commands.Resume(session="guessed")), 1),
        (commands.Hello(username="bob", resume=commands.Resume(session="good once", epoch="another")), 0),
        (commands.Hello(username="bob", rooms=["one", "two", "three"]), 0),
        (commands.Hello(username="bob"), 0),
        (commands.Say(username="ann", message="hi"), 1),
        (commands.Say(username="bob", message="hi"), 0),
    ],
)
def test_failed_hello_that_may_probe_is_counted(
    make_stage: type[Stage], hello: commands.Hello | commands.Say, counted: int
) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0, max_rooms=2))
    stage.enter("ann")
    other = stage.connect()
    other.execute(hello)
    stage.commit()
    assert other.link.failed_hellos == counted


def test_failed_hello_of_a_failing_store_is_not_counted(stage: Stage) -> None:
    stage.store.failing = "full"
    ann = stage.connect()
    ann.execute(commands.Hello(username="ann", resumable=True))
    assert ann.receive_one("error")["code"] == "unavailable"
    assert ann.link.failed_hellos == 0


@pytest.mark.parametrize(
    "hello",
    [
        commands.Hello(username="good", ref="h"),
        commands.Hello(username="b a d", ref="h"),
        commands.Hello(username="good", resume=commands.Resume(session="guessed"), ref="h"),
        commands.Say(username="good", message="hi", ref="h"),
    ],
)
def test_hello_before_its_time_is_refused_without_effect(
    stage: Stage, hello: commands.Hello | commands.Say
) -> None:
    ann = stage.connect()
    ann.link.hello_wait = 2.5
    ann.execute(hello)
    error = ann.receive_one("error")
    assert (error["code"], error["retry_after"], error["ref"]) == ("rate_limited", 2.5, "h")
    assert ann.link.failed_hellos == 0
    assert not stage.hub.directory

    # And at its time it is
    ann.link.hello_wait = 0.0
    ann.execute(commands.Hello(username="good"))
    assert ann.receive_one("welcome")["username"] == "good"


def test_failed_hellos_do_not_affect_guests_and_named_sessions(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.link.hello_wait = 2.5
    ann.execute(commands.Rename(username="eve"))
    assert ann.name == "eve"
    guest = stage.connect(PLAIN_TEXT)
    guest.link.hello_wait = 2.5
    guest.execute(commands.Arrive())
    assert guest.name.startswith("guest-")
