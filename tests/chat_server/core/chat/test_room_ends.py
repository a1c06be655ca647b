"""How public rooms end: idle ones give way, empty ones end by themselves, and the operator deletes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from chat_protocol import commands
from chat_protocol.errors import Refused
from chat_server.core.base.limits import Limits
from chat_server.core.chat.deletion import delete_room
from chat_server.core.ports.log import StoreUnavailable
from chat_server.core.ports.registry import EndedRoom
from support.core_stage.moves import come_back, cut, fill_outbox, read_again
from support.engines.kinds import open_sqlite

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def say_and_leave(stage: Stage, peer: Peer, *rooms: str) -> None:
    """Leave rooms behind that have a message and no members."""
    for room in rooms:
        peer.execute(commands.Join(room=room))
        peer.send_message(room=room)
        stage.commit()
        peer.execute(commands.Leave(room=room))
    peer.receive()


def operator(stage: Stage) -> Peer:
    peer = stage.connect()
    stage.hub.lifecycle.activate_operator(peer.session, stage.hub.registry.new_identity())
    stage.hub.rooms.join(stage.hub.rooms.find_or_make("lobby"), peer.session)
    return peer


def answer(peer: Peer, command: Any) -> dict[str, Any]:
    peer.receive()
    peer.execute(command)
    return peer.receive()[0]


# Giving way


def test_longest_idle_room_gives_way_to_a_new_one(make_stage: type[Stage]) -> None:
    # Given as many rooms as there may be: one with a member, three idle ones
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=4))
    ann, eve = stage.enter("ann", "hers"), stage.enter("eve", "hers")
    say_and_leave(stage, ann, "a", "b", "c")
    eve.execute(commands.Leave(room="hers"))
    say_and_leave(stage, ann, "a")  # so `b` is idle for longest
    assert {*stage.hub.rooms} == {"hers", "a", "b", "c"}
    # When new ones are made, then idle ones end, one for each, and those with members never
    eve.execute(commands.Join(room="new"))
    assert {*stage.hub.rooms} == {"hers", "a", "c", "new"}
    for room in ("newer", "newest"):
        assert answer(eve, commands.Join(room=room))["type"] == "joined"
    assert {*stage.hub.rooms} == {"hers", "new", "newer", "newest"}
    assert answer(eve, commands.Join(room="more"))["code"] == "too_many"
    stage.commit()
    assert [row.key for changes in stage.store.changes for row in changes.ended_rooms] == ["b", "c", "a"]
    stage.check()


def test_hello_may_push_out_no_more_than_there_are_idle_rooms(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=3))
    ann = stage.enter("ann", "hers")
    say_and_leave(stage, ann, "a", "b")
    bob = stage.connect()
    for rooms in (["x", "y", "z"], ["a", "x", "y"]):  # of the second `a` is in use then
        assert answer(bob, commands.Hello(username="bob", rooms=rooms))["code"] == "too_many"
    assert {*stage.hub.rooms} == {"hers", "a", "b"}
    assert answer(bob, commands.Hello(username="bob", rooms=["a", "x"]))["type"] == "welcome"
    assert {*stage.hub.rooms} == {"hers", "a", "x"}
    stage.commit()
    stage.check()


def test_lobby_lets_people_in_whatever_the_number_of_rooms(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=1, rate_rooms=1))
    eve = stage.connect()
    eve.link.address_key = "192.0.2.1"
    eve.execute(commands.Hello(username="eve", rooms=["pit"]))
    assert answer(eve, commands.Join(room="more"))["code"] == "too_many"
    # Nor does a name that looks like it
    assert answer(eve, commands.Join(room="l\N{CYRILLIC SMALL LETTER O}bby"))["type"] == "error"
    for number in range(3):
        assert stage.enter(f"user{number}").session.memberships.keys() == {"lobby"}


def test_lobby_never_gives_way(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=1))
    ann = stage.enter("ann")
    ann.send_message()
    stage.commit()
    ann.execute(commands.Leave(room="lobby"))
    assert answer(ann, commands.Join(room="a"))["code"] == "too_many"
    assert [*stage.hub.rooms] == ["lobby"]


def test_room_with_a_queued_message_does_not_give_way(make_stage: type[Stage]) -> None:
    """Its message is accepted, so it is stored; the room that is idle next ends instead."""
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=2))
    ann, bob = stage.enter("ann", "a"), stage.enter("bob", "b")
    for peer, room in ((ann, "a"), (bob, "b")):
        peer.send_message(room=room)
        stage.commit()
    ann.send_message(room="a", ref="1")
    for peer in (ann, bob):  # as a bug might do it: without waiting for its own messages
        (membership,) = peer.session.memberships.values()
        stage.hub.rooms.leave(membership.room, peer.session)
    stage.enter("cid", "c")
    assert {*stage.hub.rooms} == {"a", "c"}
    stage.commit()
    assert stage.hub.rooms["a"].head == 2


# What an ended room leaves behind


def test_room_of_the_name_of_an_ended_one_goes_on_with_a_gap(make_stage: type[Stage]) -> None:
    # Given a client that knows a room up to 1, which has ended at 3
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=2))
    ann, bob = stage.enter("ann", "a", resumable=True), stage.enter("bob", "a")
    for _ in range(3):
        ann.send_message(room="a")
        stage.commit()
    cut(ann)
    bob.execute(commands.Leave(room="a"))
    say_and_leave(stage, bob, "b")
    bob.execute(commands.Join(room="c"))
    assert "a" not in stage.hub.rooms
    # When it comes back, then the room is made again, and goes on
    ann = come_back(stage, ann, a=1)
    stage.run_backfill()
    welcome, gap = ann.receive()
    assert welcome["rooms"] == [{"room": "a", "seq": 1, "count": 1}]
    assert gap == {"type": "gap", "room": "a", "first": 2, "last": 3}
    assert answer(ann, commands.History(room="a"))["messages"] == []
    ann.send_message("new", room="a")
    stage.commit()
    assert [(one["seq"], one["message"]) for one in ann.messages("a")] == [(4, "new")]
    stage.check()


def test_room_made_again_before_its_end_is_stored_goes_on(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=1))
    ann = stage.enter("ann", "a")
    for _ in range(2):
        ann.send_message(room="a")
    stage.commit()
    ann.execute(commands.Leave(room="a"))
    stage.store.failing = "full"
    for room in ("b", "a"):
        assert answer(ann, commands.Join(room=room))["seq"] == (2 if room == "a" else 0)
        if room == "b":
            ann.execute(commands.Leave(room="b"))
    ann.send_message("lost", room="a", ref="1")
    stage.commit()
    assert ann.receive_one("error")["ref"] == "1"
    stage.store.failing = None
    ann.send_message("kept", room="a")
    stage.commit()
    assert [(one["seq"], one["message"]) for one in ann.messages("a")][2:] == [(3, "kept")]
    assert [row for changes in stage.store.changes for row in changes.ended_rooms] == [EndedRoom(1, "a", 2)]
    ann.execute(commands.Leave(room="a"))
    assert answer(ann, commands.Join(room="c"))["type"] == "joined"
    stage.commit()
    assert stage.store.changes[-1].ended_rooms == [EndedRoom(2, "a", 3)]
    stage.check()


def test_room_that_ends_while_a_hello_is_stored_is_made_again(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_public_rooms=1))
    ann, bob = stage.enter("ann", "a"), stage.connect()
    ann.send_message(room="a")
    stage.commit()
    ann.execute(commands.Leave(room="a"))

    def end_it() -> None:
        ann.execute(commands.Join(room="b"))
        ann.execute(commands.Leave(room="b"))

    stage.during_wait.append(end_it)
    bob.execute(commands.Hello(username="bob", rooms=["a"], resumable=True))
    assert bob.receive_one("welcome")["rooms"] == [{"room": "a", "seq": 1, "count": 1}]
    bob.send_message(room="a")
    stage.commit()
    assert bob.receive_one("message")["seq"] == 2
    stage.check()


def test_unreadable_registry_makes_no_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seqs are not known, so they might be used a second time."""
    ann = stage.enter("ann")

    def fail(_key: str) -> int:
        raise StoreUnavailable("broken")

    monkeypatch.setattr(stage.store, "ended_head", fail)
    assert answer(ann, commands.Join(room="a"))["code"] == "unavailable"
    assert stage.enter("bob").name == "bob"  # but the lobby lets people in


# Rooms that retention has emptied


def trim(stage: Stage, keep: int = 0, before: float = 0.0) -> None:
    while trimmed := stage.store.trim(keep=keep, before=before):
        stage.hub.trim_tails(trimmed)


def test_room_ends_when_its_last_message_is_deleted(stage: Stage) -> None:
    ann, bob = stage.enter("ann", "a", "b"), stage.enter("bob")
    for room in ("a", "b"):
        ann.send_message(room=room)
    stage.commit()
    ann.execute(commands.Leave(room="a"))
    stage.clock.advance(10)
    bob.send_message("the last of all")
    stage.commit()
    trim(stage, before=stage.clock.time())
    assert {*stage.hub.rooms} == {"b", "lobby"}  # which has a member
    ann.execute(commands.Leave(room="b"))
    assert {*stage.hub.rooms} == {"lobby"}
    assert answer(ann, commands.Join(room="a"))["seq"] == 1
    stage.commit()
    stage.check()


def test_rooms_without_messages_end_at_the_start(make_stage: type[Stage], tmp_path: Path) -> None:
    clock_time = 1.7e9
    store = open_sqlite(tmp_path / "db", lambda: clock_time)
    stage = make_stage(store=store)
    ann = stage.enter("ann")
    say_and_leave(stage, ann, "a", "b")
    ann.send_message("the last of all")
    stage.commit()
    while store.trim(keep=0, before=2e9):  # but the process dies before the hub knows
        pass
    store.close()
    for _ in range(2):
        store = open_sqlite(tmp_path / "db", lambda: clock_time)
        stage = make_stage(store=store)
        stage.commit()
        assert {*stage.hub.rooms} == {"lobby"}
        ann = stage.enter("ann")
        assert answer(ann, commands.Join(room="a"))["seq"] == 1
        store.close()


# The operator


def test_operator_deletes_a_room_with_its_messages(stage: Stage) -> None:
    # Given a room with members
    admin, ann, bob = operator(stage), stage.enter("ann", "Ops"), stage.enter("bob", "ops", "lobby")
    ann.send_message("one", room="ops")
    stage.commit()
    ann.receive(), bob.receive()
    # When a message is on its way, and the operator deletes the room
    ann.send_message("two", room="ops", ref="2")
    deleted = delete_room(stage.hub, admin.session, "OPS")
    # Then that is delivered and acknowledged, and its members are out
    assert (deleted.name, deleted.head, deleted.members, deleted.is_stored) == ("Ops", 2, 2, True)
    message, left = ann.receive()
    assert (message["ref"], message["seq"]) == ("2", 2)
    assert left == {"type": "left", "room": "Ops"}
    assert [frame["type"] for frame in bob.receive()] == ["message", "left"]
    for command in (commands.Message(message="x", room="ops"), commands.History(room="ops")):
        assert answer(ann, command)["code"] == "not_joined"
    assert answer(ann, commands.Rooms())["rooms"] == [{"room": "lobby", "seq": 0, "count": 2}]
    # And a room of the name has none of its messages
    assert answer(ann, commands.Join(room="ops")) == {"type": "joined", "room": "ops", "seq": 2, "count": 1}
    assert answer(ann, commands.History(room="ops"))["messages"] == []
    ann.send_message("three", room="ops")
    stage.commit()
    assert ann.messages("ops")[0]["seq"] == 3
    assert [one["message"] for one in answer(ann, commands.History(room="ops"))["messages"]] == ["three"]
    # And what was said there with a ref is not said again
    assert answer(ann, commands.Message(message="two", room="ops", ref="2"))["code"] == "invalid_field"
    stage.check()


def test_while_a_room_is_deleted_nobody_enters_or_speaks(stage: Stage) -> None:
    admin, ann, bob = operator(stage), stage.enter("ann", "ops"), stage.enter("bob")
    ann.send_message(room="ops")
    stage.commit()

    def meanwhile() -> None:
        assert answer(ann, commands.Message(message="late", room="ops", ref="l"))["code"] == "no_such_room"
        assert answer(bob, commands.Join(room="ops"))["code"] == "unavailable"
        ann.disconnect()

    stage.during_wait.append(meanwhile)
    assert delete_room(stage.hub, admin.session, "ops").members == 0
    stage.commit()
    assert "ops" not in stage.hub.rooms
    assert answer(bob, commands.Join(room="ops"))["seq"] == 1
    stage.check()


def test_lagging_member_of_a_deleted_room_gets_a_gap(stage: Stage) -> None:
    admin, ann, bob = operator(stage), stage.enter("ann", "ops"), stage.enter("bob", "ops")
    fill_outbox(bob)
    bob.receive()
    for _ in range(3):
        ann.send_message("x" * 400, room="ops")
        stage.commit()
    assert bob.session.lagging is not None
    delete_room(stage.hub, admin.session, "ops")
    read_again(stage, bob)
    assert bob.receive() == [
        {"type": "gap", "room": "ops", "first": 1, "last": 3},
        {"type": "left", "room": "ops"},
    ]
    stage.check()


@pytest.mark.parametrize(
    ("name", "code"), [("lobby", "forbidden"), ("nowhere", "no_such_room"), ("@ann,bob", "no_such_room")]
)
def test_what_cannot_be_deleted(stage: Stage, name: str, code: str) -> None:
    admin, ann, _ = operator(stage), stage.enter("ann"), stage.enter("bob")
    ann.send_message(to="bob")
    stage.commit()
    with pytest.raises(Refused) as refused:
        delete_room(stage.hub, admin.session, name)
    assert refused.value.code == code
    stage.check()


def test_deletion_with_a_failing_store_is_stored_later(stage: Stage) -> None:
    admin, ann = operator(stage), stage.enter("ann", "ops")
    ann.send_message(room="ops")
    stage.commit()
    stage.store.failing = "full"
    assert not delete_room(stage.hub, admin.session, "ops").is_stored
    assert "ops" not in stage.hub.rooms
    assert answer(ann, commands.Join(room="ops"))["seq"] == 1
    stage.store.failing = None
    ann.send_message(room="ops")
    stage.commit()
    assert ann.messages("ops")[-1]["seq"] == 2
    assert stage.store.changes[-1].ended_rooms == [EndedRoom(1, "ops", 1)]
    stage.check()


# How many rooms one address makes


def test_rooms_made_from_one_address_are_bounded(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, rate_rooms=4))

    def enter(name: str, address: str, *rooms: str) -> Peer:
        peer = stage.connect()
        peer.link.address_key = address
        peer.execute(commands.Hello(username=name, rooms=[*rooms]))
        return peer

    eve = enter("eve", "192.0.2.1", "e1", "e2", "e3")
    for room in ("e1", "e2"):
        eve.send_message(room=room)
    stage.commit()
    eve.execute(commands.Leave(room="e1"))
    eve.execute(commands.Leave(room="e3"))  # never stored: it does not count
    assert answer(eve, commands.Join(room="e4"))["type"] == "joined"
    assert answer(eve, commands.Join(room="e5"))["type"] == "joined"
    refused = answer(eve, commands.Join(room="e6"))
    assert (refused["code"], refused["retry_after"]) == ("rate_limited", 900.0)
    assert enter("mallory", "192.0.2.1", "m").frames[0]["code"] == "rate_limited"
    # Rooms that exist may be joined, the lobby always, and others may make theirs
    assert enter("mallory", "192.0.2.1", "e1", "lobby").frames[0]["type"] == "welcome"
    assert enter("ann", "192.0.2.2", "a").frames[0]["type"] == "welcome"
    assert enter("local", "", *"klmnop").frames[0]["type"] == "welcome"  # exempt
    stage.clock.advance(900)
    assert answer(eve, commands.Join(room="e6"))["type"] == "joined"
    assert answer(eve, commands.Join(room="e7"))["code"] == "rate_limited"
