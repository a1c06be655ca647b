"""Hub: rooms and conversations, and that no state is left of what has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_server.core.base.limits import Limits

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_operator_is_a_member_like_any_other(stage: Stage) -> None:
    operator, ann = stage.connect(), stage.enter("ann")
    stage.hub.lifecycle.activate_operator(operator.session, stage.hub.registry.new_identity())
    stage.hub.rooms.join(stage.hub.rooms.find_or_make("lobby"), operator.session)
    operator.send_message("dinner is served")
    stage.commit()
    shown = ann.receive_one("message")
    assert (shown["username"], shown["origin"]) == ("server", "server")
    ann.send_message(to="server")
    stage.commit()
    assert operator.messages("@ann,server")
    stage.check()


# Rooms


def test_room_in_another_spelling_is_the_same_room(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "Café"), stage.enter("bob", "CAFE\u0301")
    ann.send_message("hi", "CAFÉ")
    stage.commit()
    assert ann.receive_one("message")["room"] == bob.receive_one("message")["room"] == "Café"


def test_room_without_members_and_messages_is_deleted(stage: Stage) -> None:
    ann = stage.enter("ann", "a", "b")
    ann.send_message(room="a")
    ann.execute(commands.Leave(room="a"))
    ann.execute(commands.Leave(room="b"))
    assert list(stage.hub.rooms) == ["a"]
    stage.check()


def test_room_with_a_queued_message_is_kept(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "a")
    ann.send_message(room="a", ref="1")
    bob.disconnect()
    stage.commit()
    assert ann.receive("message")[0]["seq"] == 1
    ann.disconnect()
    cid = stage.enter("cid", "a")
    cid.send_message(room="a")
    stage.commit()
    assert cid.receive_one("message")["seq"] == 2
    stage.check()


def test_room_not_stored_is_stored_with_the_next_message(stage: Stage) -> None:
    ann = stage.enter("ann", "a")
    stage.store.failing = "full"
    ann.send_message(room="a")
    stage.commit()
    stage.store.failing = None
    ann.send_message(room="a")
    stage.commit()
    assert ann.messages()[0]["seq"] == 1
    ann.disconnect()
    stage.check()


def test_room_never_stored_is_deleted_with_its_last_member(stage: Stage) -> None:
    ann = stage.enter("ann", "a")
    stage.store.failing = "full"
    ann.send_message(room="a")
    ann.disconnect()
    assert not stage.hub.rooms
    stage.check()


# Conversations


def test_conversation_is_opened_by_a_first_message(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("Bob")
    ann.send_message("psst", to="bob", ref="1")
    stage.commit()
    for peer, other in ((ann, "Bob"), (bob, "ann")):
        opened, message = peer.receive()
        assert opened == {"type": "opened", "room": "@Bob,ann", "with": other, "by": "ann", "seq": 0}
        assert (message["room"], message["seq"], message["ref"]) == ("@Bob,ann", 1, "1")
    bob.send_message("what?", "@bob,ANN")
    ann.send_message("psst!", to="BOB")
    stage.commit()
    assert [frame["seq"] for frame in bob.receive()] == [2, 3]
    stage.check()


def test_conversation_of_a_later_user_of_the_name_is_another(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("secret", to="bob")
    stage.commit()
    bob.disconnect()
    bob = stage.enter("bob")
    bob.execute(commands.History(room="@ann,bob"))
    assert bob.receive_one("error")["code"] == "forbidden"
    bob.send_message("hello", to="ann")
    stage.commit()
    opened, message = bob.receive()
    assert opened["room"] == message["room"] == "@ann,bob#2"
    assert message["seq"] == 1
    bob.disconnect()
    bob = stage.enter("bob")
    ann.send_message("a third", to="bob")
    stage.commit()
    assert bob.messages()[0]["room"] == "@ann,bob#3"
    ann.disconnect()
    bob.disconnect()
    stage.check()
    assert not stage.hub.conversations.by_name


def test_conversation_keeps_its_name_after_renames(stage: Stage) -> None:
    """Nor does one that is not open yet take from the count when its user leaves."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    ann.execute(commands.Rename(username="zoe"))
    other = stage.enter("ann")
    stage.store.failing = "full"
    other.send_message(to="bob")
    other.disconnect()
    stage.store.failing = None
    bob.receive()
    bob.send_message("still here", "@ann,bob")
    stage.commit()
    assert bob.receive_one("message")["room"] == "@ann,bob"
    stage.check()


def test_opening_after_the_peer_has_left_acknowledges_the_message(stage: Stage) -> None:
    """It was accepted, so it is stored, under the name that the store gave the conversation."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    bob.disconnect()
    bob = stage.enter("bob")
    ann.receive()
    ann.send_message("too late", to="bob", ref="1")
    bob.disconnect()
    stage.commit()
    error, message = ann.receive()
    assert error["code"] == "no_such_user"
    assert (message["ref"], message["room"], message["seq"]) == ("1", "@ann,bob#2", 1)
    stage.check()
    assert [
        stage.hub.conversations.by_pair[pair].room.name for pair in ann.session.identity.conversations or ()
    ] == ["@ann,bob"]  # which she may still read


def test_opening_by_both_sides_at_once_is_one_conversation(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Open(peer="bob", ref="a"))
    bob.execute(commands.Open(peer="ann", ref="b"))  # waits for hers
    assert ann.receive_one("opened")["ref"] == "a"
    assert [(frame["type"], frame.get("ref")) for frame in bob.receive()] == [
        ("opened", None),
        ("opened", "b"),
    ]
    assert (ann.session.identity.opened_count, bob.session.identity.opened_count) == (1, 0)
    stage.check()


def test_refused_opening_leaves_no_state(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    stage.store.failing = "full"
    ann.execute(commands.Open(peer="bob", ref="a"))
    ann.send_message("psst", to="bob", ref="m")
    stage.commit()
    assert [(frame["code"], frame["ref"]) for frame in ann.receive()] == [
        ("unavailable", "m"),
        ("unavailable", "a"),
    ]
    assert not bob.receive()
    assert not stage.hub.conversations.by_pair
    assert not ann.session.identity.conversations
    assert not bob.session.identity.conversations
    stage.store.failing = None
    bob.send_message("psst", to="ann")
    stage.commit()
    assert ann.messages()[0]["room"] == "@ann,bob"
    stage.check()


def test_failed_opening_is_reported_to_the_other_opener(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    stage.store.failing = "full"
    ann.execute(commands.Open(peer="bob"))
    bob.execute(commands.Open(peer="ann", ref="b"))
    error = bob.receive_one("error")
    assert (error["code"], error["ref"]) == ("unavailable", "b")
    stage.check()


def test_message_queued_before_a_close_reopens_the_conversation(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one", to="bob")
    stage.commit()
    ann.receive()
    bob.receive()
    bob.send_message("two", to="ann", ref="2")
    ann.execute(commands.Close(peer="bob"))
    assert bob.receive_one("closed")["by"] == "ann"
    stage.commit()
    for peer in (ann, bob):
        frames = [frame for frame in peer.receive() if frame["type"] != "closed"]
        assert [(frame["type"], frame["seq"]) for frame in frames] == [("opened", 1), ("message", 2)]
    assert bob.session.identity.opened_count == 1
    stage.check()


def test_opening_queued_behind_a_message_does_not_lose_it(stage: Stage) -> None:
    """Closed and opened again while the other's message was being stored: it is delivered first."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one", to="bob")
    stage.commit()
    bob.send_message("two", to="ann", ref="2")
    ann.execute(commands.Close(peer="bob"))
    ann.execute(commands.Open(peer="bob", ref="o"))
    ann.receive()
    bob.receive()
    stage.commit()
    assert [(frame["type"], frame["seq"]) for frame in bob.receive()] == [("opened", 1), ("message", 2)]
    opened, message, answer = ann.receive()
    assert (opened["seq"], message["seq"]) == (1, 2)
    assert (answer["type"], answer["seq"], answer["ref"]) == ("opened", 2, "o")
    assert (ann.session.identity.opened_count, bob.session.identity.opened_count) == (0, 1)
    stage.check()


def test_refused_opening_does_not_close_a_reopened_conversation(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one", to="bob")
    stage.commit()
    bob.send_message("two", to="ann")
    ann.execute(commands.Close(peer="bob"))
    stage.store.failing = "full"
    stage.committer.commit()  # the message is taken, and waits for the store
    ann.execute(commands.Open(peer="bob", ref="o"))
    stage.store.failing = None
    stage.committer.commit()
    stage.store.failing = "full"
    bob.send_message("three", to="ann")
    stage.commit()
    assert ann.receive("error")[0]["ref"] == "o"
    stage.check()
    stage.store.failing = None
    bob.send_message("four", to="ann")
    stage.commit()
    assert [frame["seq"] for frame in ann.messages()] == [1, 2, 3]
    stage.check()


def test_close_waits_for_own_messages(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    ann.send_message(to="bob")
    ann.execute(commands.Close(peer="bob", ref="c"))
    assert [frame["type"] for frame in bob.receive()] == ["opened", "message", "message", "closed"]
    assert ann.receive("closed") == [
        {"type": "closed", "room": "@ann,bob", "with": "bob", "by": "ann", "ref": "c"}
    ]
    stage.check()


def test_message_stored_after_its_receiver_left_is_acknowledged(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one", to="bob")
    stage.commit()
    ann.receive()
    ann.send_message("two", to="bob", ref="2")
    bob.disconnect()
    stage.commit()
    closed, message = ann.receive()
    assert closed == {"type": "closed", "room": "@ann,bob", "with": "bob", "by": "bob"}
    assert (message["seq"], message["ref"]) == (2, "2")
    stage.check()


def test_refused_opening_over_the_limit_leaves_no_state(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=Limits(rate_messages=0, rate_bytes=0, max_conversations=1))
    ann = stage.enter("ann")
    for name in ("bob", "cid"):
        stage.enter(name)
    ann.send_message(to="bob")
    ann.execute(commands.Open(peer="cid", ref="1"))
    error = ann.receive_one("error")
    assert (error["code"], error["ref"]) == ("too_many", "1")
    ann.send_message(to="cid")
    assert ann.receive_one("error")["code"] == "too_many"
    stage.commit()
    assert len(stage.hub.conversations.by_pair) == 1
    stage.check()
    ann.execute(commands.Close(peer="bob"))
    ann.send_message(to="cid")
    stage.commit()
    assert ann.messages()[-1]["room"] == "@ann,cid"
    assert stage.hub.directory.require_user("cid").opened_count == 0  # it counts for its opener
    stage.check()


def test_conversation_of_others_is_not_revealed(stage: Stage) -> None:
    ann, bob, eve = stage.enter("ann"), stage.enter("bob"), stage.enter("eve")
    ann.send_message("secret", to="bob")
    stage.commit()
    assert not eve.receive()
    answers = []
    for name in ("@ann,bob", "@nobody,else"):
        for command in (
            commands.Message(message="hi", room=name),
            commands.History(room=name),
            commands.Who(room=name),
            commands.Join(room=name),
        ):
            eve.execute(command)
            answers.append(eve.receive_one("error")["code"])
    assert answers == ["forbidden"] * 8
    eve.execute(commands.Rooms())
    assert [room["room"] for room in eve.receive_one("rooms")["rooms"]] == ["lobby"]
    bob.disconnect()
