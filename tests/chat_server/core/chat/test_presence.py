"""Presence: what is told of who came and went. Flushed as the server's ticker does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_protocol.dialects.base import PLAIN_TEXT
from chat_server.core.chat.presence import LARGE_ROOM_INTERVAL_S, LARGE_ROOM_MEMBERS

if TYPE_CHECKING:
    from chat_server.core.conftest import Peer, Stage

SECOND = 1.0  # within which every change is told


def settle(stage: Stage, *peers: Peer) -> None:
    """Let all that is to be told be told, and forgotten."""
    stage.clock.advance(LARGE_ROOM_INTERVAL_S)
    stage.hub.presence_updates.flush()
    for peer in peers:
        peer.receive()


def news(stage: Stage, seconds: float = SECOND) -> None:
    stage.clock.advance(seconds)
    stage.hub.presence_updates.flush()


def test_who_came_and_went_is_gathered_into_one(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    settle(stage, ann, bob)
    stage.enter("cid")
    stage.enter("dot")
    bob.disconnect()
    news(stage)
    assert ann.receive_one("presence") == {
        "type": "presence",
        "room": "lobby",
        "joined": ["cid", "dot"],
        "left": ["bob"],
        "count": 3,
    }


def test_a_rooms_news_go_out_at_most_once_an_interval(stage: Stage) -> None:
    ann = stage.enter("ann")
    settle(stage, ann)
    stage.clock.advance(SECOND)
    stage.enter("bob")
    stage.hub.presence_updates.flush()  # the first at once
    assert ann.receive_one("presence")["joined"] == ["bob"]
    stage.enter("cid")
    news(stage, SECOND / 2)
    assert not ann.receive()
    stage.enter("dot")
    news(stage, SECOND / 2)
    assert ann.receive_one("presence")["joined"] == ["cid", "dot"]
    news(stage)
    assert not ann.receive()  # nothing happened


def test_what_happened_last_within_the_interval_is_told(stage: Stage) -> None:
    """Somebody who came in between may have seen in `who` what was true before."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    settle(stage, ann, bob)
    bob.disconnect()
    stage.enter("bob")
    cid = stage.enter("cid")
    cid.disconnect()
    news(stage)
    told = ann.receive_one("presence")
    assert (told["joined"], told["left"], told["count"]) == (["bob"], ["cid"], 2)


def test_lists_stay_short_however_many_come_and_go(stage: Stage) -> None:
    ann = stage.enter("ann")
    settle(stage, ann)
    for number in range(300):
        stage.enter(f"passer-by-{number}").disconnect()
    news(stage)
    told = ann.receive_one("presence")
    assert len(told["left"]) <= 101
    assert "passer-by-299" in told["left"]
    assert told["count"] == 1


def test_rooms_are_told_apart(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a", "b"), stage.enter("bob", "b")
    settle(stage, ann, bob)
    bob.execute(commands.Join(room="a"))
    bob.execute(commands.Leave(room="b"))
    news(stage)
    told = ann.receive("presence")
    assert {(one["room"], *one["joined"], "|", *one["left"]) for one in told} == {
        ("a", "bob", "|"),
        ("b", "|", "bob"),
    }


def test_one_who_has_just_come_is_told_of_under_the_new_name(stage: Stage) -> None:
    ann = stage.enter("ann")
    settle(stage, ann)
    bob = stage.enter("bob")
    bob.execute(commands.Rename(username="rob"))
    assert ann.receive_one("renamed")["username"] == "rob"
    news(stage)
    assert ann.receive_one("presence")["joined"] == ["rob"]


def test_a_name_that_has_gone_is_not_told_of_when_another_bears_it_now(stage: Stage) -> None:
    """`renamed` comes at once: a client would take the old bearer's departure for the new one's."""
    ann, bob, cid = stage.enter("ann"), stage.enter("bob"), stage.enter("cid")
    settle(stage, ann, bob, cid)
    bob.disconnect()
    cid.execute(commands.Rename(username="bob"))
    assert ann.receive_one("renamed")["old"] == "cid"
    news(stage)
    assert not ann.receive()


def test_a_large_room_is_told_the_count_only_and_not_often(stage: Stage) -> None:
    ann = stage.enter("ann")
    crowd = [stage.enter(f"n{number}") for number in range(LARGE_ROOM_MEMBERS - 1)]
    settle(stage, ann, *crowd)
    stage.enter("last")  # 101
    room = stage.hub.rooms["lobby"]
    assert not room.joined_names
    assert not room.left_names
    news(stage)
    assert not ann.receive()
    news(stage, LARGE_ROOM_INTERVAL_S)
    assert ann.receive_one("presence") == {
        "type": "presence",
        "room": "lobby",
        "count": LARGE_ROOM_MEMBERS + 1,
    }


def test_a_join_storm_is_few_deliveries(stage: Stage) -> None:
    """A thousand come within a second: nobody is told a thousand times."""
    peers = []
    for number in range(1000):
        peers.append(stage.enter(f"n{number}"))
        if number % 100 == 99:
            stage.clock.advance(0.1)
            stage.hub.presence_updates.flush()
    news(stage, LARGE_ROOM_INTERVAL_S)
    assert max(len(peer.receive("presence")) for peer in peers) <= 2
    assert not stage.hub.presence_updates._changed


def test_an_empty_room_is_told_nothing_and_forgotten(stage: Stage) -> None:
    ann = stage.enter("ann", "a")
    ann.disconnect()
    news(stage)
    assert not stage.hub.presence_updates._changed


def test_dialects_that_have_no_word_for_it_get_nothing(stage: Stage) -> None:
    ann = stage.enter("ann")
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    before = guest.outbox.data
    settle(stage)
    assert ann.receive("presence")
    assert b"{" not in guest.outbox.data[len(before) :]
