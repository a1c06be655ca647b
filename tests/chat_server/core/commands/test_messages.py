from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.base import TWO_FIELD

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_a_message_is_an_event_with_all_its_fields(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("tab\tand\nline", ref="1")
    stage.commit()
    assert ann.receive_one("message") == {
        "type": "message",
        "room": "lobby",
        "seq": 1,
        "from": ann.id,
        "username": "ann",
        "message": "tab\tand\nline",
        "timestamp": stage.clock.time(),
        "origin": "client",
        "ref": "1",
    }


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"message": ""}, "invalid_field"),
        ({"message": "bell\a"}, "invalid_field"),
        ({"message": "x" * 8193}, "invalid_field"),
        ({"message": "é" * 4097}, "invalid_field"),
        ({"message": "hi", "room": "nowhere"}, "not_joined"),
        ({"message": "hi", "room": "@ann,bob"}, "forbidden"),
        ({"message": "hi", "to": "nobody"}, "no_such_user"),
        ({"message": "hi", "to": "ANN"}, "invalid_field"),
        ({"message": "hi", "to": "bob", "room": "lobby"}, "invalid_field"),
    ],
)
def test_a_message_that_is_refused_uses_up_no_ref(stage: Stage, how: dict[str, str], code: str) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Message(**how, ref="1"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == (code, "1")
    stage.check()
    ann.send_message(ref="1")
    stage.commit()
    assert bob.receive_one("message")["ref"] == "1"


def test_the_longest_message_is_taken(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("é" * 4096)
    stage.commit()
    assert len(ann.receive_one("message")["message"]) == 4096


def test_one_hears_nothing_of_rooms_one_is_not_in(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "b")
    ann.send_message(room="A")
    stage.commit()
    assert not bob.receive()
    assert ann.receive_one("message")["room"] == "a"


def test_to_somebody_who_is_there_under_another_spelling(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("Bob")
    ann.send_message("one", to="BOB")
    ann.send_message("two", to="bob")
    stage.commit()
    assert [frame["type"] for frame in bob.receive()] == ["opened", "message", "message"]


def test_one_whose_other_side_has_left_is_told_so(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    bob.disconnect()
    ann.receive()
    ann.send_message(room="@ann,bob", ref="1")
    assert ann.receive_one("error")["code"] == "no_such_user"
    ann.send_message(to="bob", ref="1")
    assert ann.receive_one("error")["code"] == "no_such_user"


# Two-field JSON


def test_a_pair_takes_the_name_joins_and_says_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message="hi"))
    stage.commit()
    assert ann.receive_one("message")["username"] == "bob"
    bob.execute(commands.Say(username="BOB", message="hi"))  # the same
    bob.execute(commands.Say(username="rob", message="hi"))
    stage.commit()
    assert [frame["username"] for frame in ann.receive() if frame["type"] == "message"] == ["bob", "rob"]
    stage.check()


def test_a_pair_under_a_name_that_is_taken_is_not_said(stage: Stage) -> None:
    ann = stage.enter("ann")
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="ann", message="it was me"))
    bob.execute(commands.Say(username="bob", message="hi"))
    bob.execute(commands.Say(username="ann", message="it was me"))
    stage.commit()
    assert [frame["username"] for frame in ann.messages()] == ["bob"]
    stage.check()


def test_an_empty_pair_only_names(stage: Stage) -> None:
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message=""))
    assert bob.name == "bob"
    assert stage.ingest.idle
    bob.execute(commands.Say(username="bob", message=""))
    assert b"must not be empty" in bob.outbox.data
