from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.base import TWO_FIELD

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_a_message_is_an_event_with_all_its_fields(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.says("tab\tand\nline", ref="1")
    stage.commit()
    assert ann.one("message") == {
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
    ann.does(commands.Message(**how, ref="1"))
    error = ann.one("error")
    assert (error["code"], error["ref"]) == (code, "1")
    stage.check()
    ann.says(ref="1")
    stage.commit()
    assert bob.one("message")["ref"] == "1"


def test_the_longest_message_is_taken(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.says("é" * 4096)
    stage.commit()
    assert len(ann.one("message")["message"]) == 4096


def test_one_hears_nothing_of_rooms_one_is_not_in(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "b")
    ann.says(room="A")
    stage.commit()
    assert not bob.take()
    assert ann.one("message")["room"] == "a"


def test_to_somebody_who_is_there_under_another_spelling(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("Bob")
    ann.says("one", to="BOB")
    ann.says("two", to="bob")
    stage.commit()
    assert [frame["type"] for frame in bob.take()] == ["opened", "message", "message"]


def test_one_whose_other_side_has_left_is_told_so(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.says(to="bob")
    stage.commit()
    bob.goes()
    ann.take()
    ann.says(room="@ann,bob", ref="1")
    assert ann.one("error")["code"] == "no_such_user"
    ann.says(to="bob", ref="1")
    assert ann.one("error")["code"] == "no_such_user"


# Two-field JSON


def test_a_pair_takes_the_name_joins_and_says_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    bob = stage.connect(TWO_FIELD)
    bob.does(commands.Say(username="bob", message="hi"))
    stage.commit()
    assert ann.one("message")["username"] == "bob"
    bob.does(commands.Say(username="BOB", message="hi"))  # the same
    bob.does(commands.Say(username="rob", message="hi"))
    stage.commit()
    assert [frame["username"] for frame in ann.take() if frame["type"] == "message"] == ["bob", "rob"]
    stage.check()


def test_a_pair_under_a_name_that_is_taken_is_not_said(stage: Stage) -> None:
    ann = stage.enter("ann")
    bob = stage.connect(TWO_FIELD)
    bob.does(commands.Say(username="ann", message="it was me"))
    bob.does(commands.Say(username="bob", message="hi"))
    bob.does(commands.Say(username="ann", message="it was me"))
    stage.commit()
    assert [frame["username"] for frame in ann.messages()] == ["bob"]
    stage.check()


def test_an_empty_pair_only_names(stage: Stage) -> None:
    bob = stage.connect(TWO_FIELD)
    bob.does(commands.Say(username="bob", message=""))
    assert bob.name == "bob"
    assert stage.ingest.idle
    bob.does(commands.Say(username="bob", message=""))
    assert b"must not be empty" in bob.outbox.data
