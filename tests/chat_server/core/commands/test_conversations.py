from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_open_and_close_notify_both_sides(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Open(peer="bob", ref="o"))
    stage.commit()
    opened = {"type": "opened", "room": "@ann,bob", "by": "ann", "seq": 0}
    assert ann.receive_one("opened") == opened | {"with": "bob", "ref": "o"}
    assert bob.receive_one("opened") == opened | {"with": "ann"}
    bob.execute(commands.Close(peer="ann", ref="c"))
    closed = {"type": "closed", "room": "@ann,bob", "by": "bob"}
    assert bob.receive_one("closed") == closed | {"with": "ann", "ref": "c"}
    assert ann.receive_one("closed") == closed | {"with": "bob"}
    stage.check()


def test_open_of_an_open_conversation_is_answered_with_the_position(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    ann.receive()
    bob.receive()
    bob.execute(commands.Open(peer="ann", ref="o"))
    opened = bob.receive_one("opened")
    assert (opened["by"], opened["with"], opened["seq"], opened["ref"]) == ("ann", "ann", 1, "o")
    assert not ann.receive()
    assert (ann.session.identity.opened_count, bob.session.identity.opened_count) == (1, 0)
    stage.check()


def test_close_waits_for_own_messages_and_open_continues_there(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    ann.execute(commands.Close(peer="bob"))
    assert [frame["type"] for frame in ann.receive()] == ["opened", "message", "closed"]
    bob.receive()
    bob.send_message(room="@ann,bob")  # by its name
    stage.commit()
    assert [(frame["type"], frame["seq"]) for frame in bob.receive()] == [("opened", 1), ("message", 2)]
    stage.check()


def test_open_waiting_for_the_peers_opening_fails_if_it_leaves(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Open(peer="bob"))
    stage.during_wait.append(ann.disconnect)
    bob.execute(commands.Open(peer="ann", ref="b"))
    frames = bob.receive()
    assert [frame["type"] for frame in frames] == ["opened", "closed", "error"]
    assert (frames[-1]["code"], frames[-1]["ref"]) == ("no_such_user", "b")
    stage.check()
