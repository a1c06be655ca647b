"""Presence: batched joins and leaves. Flushed as the server's ticker does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_server.core.chat.presence import FLUSHED_MEMBERS, LARGE_ROOM_INTERVAL_S, LARGE_ROOM_MEMBERS

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

UPDATE_INTERVAL_S = 1.0  # within which every change is sent


def drain_presence(stage: Stage, *peers: Peer) -> None:
    """Send all presence events that are pending, and drop them."""
    stage.clock.advance(LARGE_ROOM_INTERVAL_S)
    stage.hub.presence_updates.flush()
    for peer in peers:
        peer.receive()


def flush_presence(stage: Stage, seconds: float = UPDATE_INTERVAL_S) -> None:
    stage.clock.advance(seconds)
    stage.hub.presence_updates.flush()


def test_presence_of_several_changes_is_one_event(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    drain_presence(stage, ann, bob)
    stage.enter("cid")
    stage.enter("dot")
    bob.disconnect()
    flush_presence(stage)
    assert ann.receive_one("presence") == {
        "type": "presence",
        "room": "lobby",
        "joined": ["cid", "dot"],
        "left": ["bob"],
        "count": 3,
    }


def test_presence_is_sent_at_most_once_an_interval(stage: Stage) -> None:
    ann = stage.enter("ann")
    drain_presence(stage, ann)
    stage.clock.advance(UPDATE_INTERVAL_S)
    stage.enter("bob")
    stage.hub.presence_updates.flush()  # the first at once
    assert ann.receive_one("presence")["joined"] == ["bob"]
    stage.enter("cid")
    flush_presence(stage, UPDATE_INTERVAL_S / 2)
    assert not ann.receive()
    stage.enter("dot")
    flush_presence(stage, UPDATE_INTERVAL_S / 2)
    assert ann.receive_one("presence")["joined"] == ["cid", "dot"]
    flush_presence(stage)
    assert not ann.receive()  # nothing happened


def test_presence_has_the_last_change_of_each_user(stage: Stage) -> None:
    """A user that joined in between may have seen the earlier state in `who`."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    drain_presence(stage, ann, bob)
    bob.disconnect()
    stage.enter("bob")
    cid = stage.enter("cid")
    cid.disconnect()
    flush_presence(stage)
    presence = ann.receive_one("presence")
    assert (presence["joined"], presence["left"], presence["count"]) == (["bob"], ["cid"], 2)


def test_presence_lists_are_bounded(stage: Stage) -> None:
    ann = stage.enter("ann")
    drain_presence(stage, ann)
    for number in range(300):
        stage.enter(f"passer-by-{number}").disconnect()
    flush_presence(stage)
    presence = ann.receive_one("presence")
    assert len(presence["left"]) <= 101
    assert "passer-by-299" in presence["left"]
    assert presence["count"] == 1


def test_presence_of_rooms_is_separate(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a", "b"), stage.enter("bob", "b")
    drain_presence(stage, ann, bob)
    bob.execute(commands.Join(room="a"))
    bob.execute(commands.Leave(room="b"))
    flush_presence(stage)
    presence = ann.receive("presence")
    assert {(one["room"], *one["joined"], "|", *one["left"]) for one in presence} == {
        ("a", "bob", "|"),
        ("b", "|", "bob"),
    }


def test_presence_after_join_and_rename_has_the_new_name(stage: Stage) -> None:
    ann = stage.enter("ann")
    drain_presence(stage, ann)
    bob = stage.enter("bob")
    bob.execute(commands.Rename(username="rob"))
    assert ann.receive_one("renamed")["username"] == "rob"
    flush_presence(stage)
    assert ann.receive_one("presence")["joined"] == ["rob"]


def test_presence_omits_a_leave_of_a_name_taken_by_rename(stage: Stage) -> None:
    """`renamed` is sent at once: a client would take the leave for that of the name's new user."""
    ann, bob, cid = stage.enter("ann"), stage.enter("bob"), stage.enter("cid")
    drain_presence(stage, ann, bob, cid)
    bob.disconnect()
    cid.execute(commands.Rename(username="bob"))
    assert ann.receive_one("renamed")["old"] == "cid"
    flush_presence(stage)
    assert not ann.receive()


def test_presence_in_a_large_room_is_a_rare_count(stage: Stage) -> None:
    ann = stage.enter("ann")
    crowd = [stage.enter(f"n{number}") for number in range(LARGE_ROOM_MEMBERS - 1)]
    drain_presence(stage, ann, *crowd)
    stage.enter("last")  # 101
    room = stage.hub.rooms["lobby"]
    assert not room.joined_names
    assert not room.left_names
    flush_presence(stage)
    assert not ann.receive()
    flush_presence(stage, LARGE_ROOM_INTERVAL_S)
    assert ann.receive_one("presence") == {
        "type": "presence",
        "room": "lobby",
        "count": LARGE_ROOM_MEMBERS + 1,
    }


def test_presence_of_a_join_storm_is_few_deliveries(stage: Stage) -> None:
    """A thousand users join within a second: no user gets a thousand events."""
    peers = []
    for number in range(1000):
        peers.append(stage.enter(f"n{number}"))
        if number % 100 == 99:
            stage.clock.advance(0.1)
            stage.hub.presence_updates.flush()
    flush_presence(stage, LARGE_ROOM_INTERVAL_S)
    assert max(len(peer.receive("presence")) for peer in peers) <= 2
    assert not stage.hub.presence_updates._changed


def test_presence_of_an_empty_room_is_dropped(stage: Stage) -> None:
    ann = stage.enter("ann", "a")
    ann.disconnect()
    flush_presence(stage)
    assert not stage.hub.presence_updates._changed


def test_presence_is_not_sent_to_dialects_that_cannot_encode_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    before = guest.outbox.data
    drain_presence(stage)
    assert ann.receive("presence")
    assert b"{" not in guest.outbox.data[len(before) :]


def test_presence_of_many_rooms_is_spread_over_ticks(stage: Stage) -> None:
    # Given many rooms with many members, that all change at once
    rooms = [f"r{number}" for number in range(20)]
    members = [stage.enter(f"one{number}", *rooms) for number in range(90)]
    drain_presence(stage, *members)
    for _ in rooms:
        flush_presence(stage)
    for peer in members:
        peer.receive()
    newcomer = stage.enter("new", *rooms)
    newcomer.receive()
    stage.clock.advance(UPDATE_INTERVAL_S)
    # When presence is flushed, then each flush sends to so many members, and after some all have got all
    sent = []
    while stage.hub.presence_updates._changed:
        sent.append(stage.hub.presence_updates.flush())
    assert max(sent) < FLUSHED_MEMBERS + 91
    assert sum(sent) == 20 * 91
    assert [frame["room"] for frame in members[0].receive("presence")] == rooms
