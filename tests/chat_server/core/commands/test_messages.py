from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_protocol.dialects.two_field import TWO_FIELD

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_message_event_has_all_fields(stage: Stage) -> None:
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
def test_message_refused_does_not_use_its_ref(stage: Stage, how: dict[str, str], code: str) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Message(**how, ref="1"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == (code, "1")
    stage.check()
    ann.send_message(ref="1")
    stage.commit()
    assert bob.receive_one("message")["ref"] == "1"


def test_message_of_maximum_length_is_accepted(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("é" * 4096)
    stage.commit()
    assert len(ann.receive_one("message")["message"]) == 4096


def test_message_is_not_sent_to_non_members(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "b")
    ann.send_message(room="A")
    stage.commit()
    assert not bob.receive()
    assert ann.receive_one("message")["room"] == "a"


def test_message_to_a_user_in_another_spelling_arrives(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("Bob")
    ann.send_message("one", to="BOB")
    ann.send_message("two", to="bob")
    stage.commit()
    assert [frame["type"] for frame in bob.receive()] == ["opened", "message", "message"]


def test_message_in_a_conversation_whose_peer_left_is_refused(stage: Stage) -> None:
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


def test_two_field_message_takes_the_name_and_is_sent(stage: Stage) -> None:
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


def test_two_field_message_under_a_taken_name_is_refused(stage: Stage) -> None:
    ann = stage.enter("ann")
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="ann", message="it was me"))
    bob.execute(commands.Say(username="bob", message="hi"))
    bob.execute(commands.Say(username="ann", message="it was me"))
    stage.commit()
    assert [frame["username"] for frame in ann.messages()] == ["bob"]
    stage.check()


def test_two_field_message_that_is_empty_only_takes_the_name(stage: Stage) -> None:
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message=""))
    assert bob.name == "bob"
    assert stage.committer.idle
    bob.execute(commands.Say(username="bob", message=""))
    assert b"must not be empty" in bob.outbox.data


def test_two_field_message_with_a_room_enters_it_and_is_sent_there(stage: Stage) -> None:
    ann, cy = stage.enter("ann", "lobby", "Ops"), stage.enter("cy")
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message="one", room="ops"))
    bob.execute(commands.Say(username="bob", message="two", room="OPS"))
    bob.execute(commands.Say(username="bob", message="three"))
    stage.commit()
    # Then it is said in that room alone, which was entered once
    assert [(each["room"], each["message"]) for each in ann.messages()] == [
        ("Ops", "one"),
        ("Ops", "two"),
        ("lobby", "three"),
    ]
    assert [each["message"] for each in cy.messages()] == ["three"]
    assert bob.outbox.data.count(b"you are in Ops") == 1
    assert set(bob.session.memberships) == {"lobby", "ops"}
    stage.check()


def test_two_field_message_that_is_empty_may_enter_a_room(stage: Stage) -> None:
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message=""))
    bob.execute(commands.Say(username="bob", message="", room="ops"))
    assert set(bob.session.memberships) == {"lobby", "ops"}
    assert stage.committer.idle
    bob.execute(commands.Say(username="bob", message="", room="ops"))
    assert b"must not be empty" in bob.outbox.data


@pytest.mark.parametrize(
    ("room", "to", "said"),
    [
        ("", None, "1 to 32 characters"),
        ("two words", None, "a name may contain"),
        ("r" * 60_000, None, "1 to 32 characters"),
        ("a\u202eb", None, "U+202E"),
        ("@ann,cy", None, "access"),
        ("@nobody", None, "access"),
        ("ops", "ann", "not both"),
        (None, "nobody", "nobody here is called nobody"),
        (None, "bob", "yourself"),
        (None, "", "nobody here is called"),
    ],
)
def test_two_field_message_to_an_invalid_place_is_said_nowhere(
    stage: Stage, room: str | None, to: str | None, said: str
) -> None:
    ann, cy = stage.enter("ann"), stage.enter("cy")
    ann.send_message(to="cy")
    stage.commit()
    ann.receive(), cy.receive()
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message="secret", room=room, to=to))
    stage.commit()
    assert said in bob.outbox.data.decode()
    assert not ann.messages("lobby")
    assert b"secret" not in ann.outbox.data + cy.outbox.data
    assert bob.name == "bob"


def test_two_field_message_to_a_user_is_private(stage: Stage) -> None:
    ann, cy = stage.enter("ann"), stage.enter("cy")
    bob = stage.connect(TWO_FIELD)
    bob.execute(commands.Say(username="bob", message="psst", to="ann"))
    stage.commit()
    assert [(each["room"], each["message"]) for each in ann.messages()] == [("@ann,bob", "psst")]
    assert b"psst" not in cy.outbox.data
    # And it can be answered by the conversation's name
    bob.execute(commands.Say(username="bob", message="again", room="@ann,bob"))
    stage.commit()
    assert ann.messages("@ann,bob")[-1]["message"] == "again"
    stage.check()
