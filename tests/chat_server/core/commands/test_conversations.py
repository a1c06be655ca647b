from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_both_sides_are_told_of_opening_and_closing(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.does(commands.Open(peer="bob", ref="o"))
    stage.commit()
    opened = {"type": "opened", "room": "@ann,bob", "by": "ann", "seq": 0}
    assert ann.one("opened") == opened | {"with": "bob", "ref": "o"}
    assert bob.one("opened") == opened | {"with": "ann"}
    bob.does(commands.Close(peer="ann", ref="c"))
    closed = {"type": "closed", "room": "@ann,bob", "by": "bob"}
    assert bob.one("closed") == closed | {"with": "ann", "ref": "c"}
    assert ann.one("closed") == closed | {"with": "bob"}
    stage.check()


def test_to_open_an_open_one_says_where_one_stands(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.says(to="bob")
    stage.commit()
    ann.take()
    bob.take()
    bob.does(commands.Open(peer="ann", ref="o"))
    opened = bob.one("opened")
    assert (opened["by"], opened["with"], opened["seq"], opened["ref"]) == ("ann", "ann", 1, "o")
    assert not ann.take()
    assert (ann.session.conversations, bob.session.conversations) == (1, 0)
    stage.check()


def test_one_closes_after_what_one_said_and_opens_where_it_ended(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.says(to="bob")
    ann.does(commands.Close(peer="bob"))
    assert [frame["type"] for frame in ann.take()] == ["opened", "message", "closed"]
    bob.take()
    bob.says(room="@ann,bob")  # by its name
    stage.commit()
    assert [(frame["type"], frame["seq"]) for frame in bob.take()] == [("opened", 1), ("message", 2)]
    stage.check()


def test_the_peer_leaves_while_one_waits_for_its_opening(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.does(commands.Open(peer="bob"))
    stage.meanwhile.append(ann.goes)
    bob.does(commands.Open(peer="ann", ref="b"))
    frames = bob.take()
    assert [frame["type"] for frame in frames] == ["opened", "closed", "error"]
    assert (frames[-1]["code"], frames[-1]["ref"]) == ("no_such_user", "b")
    stage.check()
