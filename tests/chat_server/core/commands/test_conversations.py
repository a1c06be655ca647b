from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_both_sides_are_told_of_opening_and_closing(stage: Stage) -> None:
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


def test_to_open_an_open_one_says_where_one_stands(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    ann.receive()
    bob.receive()
    bob.execute(commands.Open(peer="ann", ref="o"))
    opened = bob.receive_one("opened")
    assert (opened["by"], opened["with"], opened["seq"], opened["ref"]) == ("ann", "ann", 1, "o")
    assert not ann.receive()
    assert (ann.session.opened_count, bob.session.opened_count) == (1, 0)
    stage.check()


def test_one_closes_after_what_one_said_and_opens_where_it_ended(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    ann.execute(commands.Close(peer="bob"))
    assert [frame["type"] for frame in ann.receive()] == ["opened", "message", "closed"]
    bob.receive()
    bob.send_message(room="@ann,bob")  # by its name
    stage.commit()
    assert [(frame["type"], frame["seq"]) for frame in bob.receive()] == [("opened", 1), ("message", 2)]
    stage.check()


def test_the_peer_leaves_while_one_waits_for_its_opening(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Open(peer="bob"))
    stage.during_wait.append(ann.disconnect)
    bob.execute(commands.Open(peer="ann", ref="b"))
    frames = bob.receive()
    assert [frame["type"] for frame in frames] == ["opened", "closed", "error"]
    assert (frames[-1]["code"], frames[-1]["ref"]) == ("no_such_user", "b")
    stage.check()
