"""A user with several sessions. A guest has one; here further ones are activated under its identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_server.core.chat.conversation import ConversationState
from chat_server.core.chat.session_lifecycle import new_public_id
from chat_server.core.ports.registry import SessionRecord
from chat_server.core.sessions.resumable import hash_secret
from chat_server.core.sessions.session import Resumption
from support.core_stage.moves import (
    acknowledge,
    close_with,
    cut,
    end_expired,
    expire,
    open_with,
    read_again,
    send_to,
    stop_reading,
)

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def another(stage: Stage, peer: Peer, *rooms: str, resumable: bool = False) -> Peer:
    """Return another session of the peer's user, which is in these rooms."""
    further, identity = stage.connect(), peer.session.identity
    public_id = new_public_id()
    if resumable:
        record = SessionRecord(public_id, identity.id, identity.name, hash_secret(public_id))
        further.session.resumption = Resumption(record)
        stage.hub.resumable.register(further.session)
    stage.hub.lifecycle.activate(further.session, public_id, identity)
    for room in rooms:
        stage.hub.rooms.join(stage.hub.rooms.find_or_make(room), further.session)
    return further


def pair(stage: Stage, *, resumable: bool = False) -> tuple[Peer, Peer, Peer, Peer]:
    """Return two sessions of ann, and two of bob."""
    ann, bob = stage.enter("ann", resumable=resumable), stage.enter("bob", resumable=resumable)
    return (
        *(ann, another(stage, ann, "lobby", resumable=resumable)),
        *(bob, another(stage, bob, resumable=resumable)),
    )


def kinds(peer: Peer) -> list[str]:
    return [frame["type"] for frame in peer.receive()]


def presence(stage: Stage) -> None:
    stage.clock.advance(1)
    stage.hub.presence_updates.flush()


# Lists, counts, round trips


def test_user_is_listed_and_counted_once(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    further = another(stage, ann, "lobby", "a")
    stage.check()
    for room in (None, "lobby"):
        bob.execute(commands.Who(room=room))
        assert [user["username"] for user in bob.receive_one("who")["users"]] == ["ann", "bob"]
    bob.execute(commands.Join(room="a"))
    assert bob.receive_one("joined")["count"] == 2
    bob.execute(commands.Rooms())
    assert {room["room"]: room["count"] for room in bob.receive_one("rooms")["rooms"]} == {"a": 2, "lobby": 2}
    assert further.session.identity is stage.hub.directory["ann"]
    assert further.id != ann.id


def test_user_list_has_the_first_connect_the_least_round_trip_and_the_longest_lag(stage: Stage) -> None:
    ann = stage.enter("ann")
    since = stage.clock.time()
    stage.clock.advance(5)
    further, bob = another(stage, ann, "lobby"), stage.enter("bob")
    ann.link.tcp_ms, further.link.tcp_ms = 9.0, 2.0
    stop_reading(further)
    for _ in range(3):
        bob.send_message()
        stage.commit()
    bob.execute(commands.Who())
    entry = bob.receive("who")[0]["users"][0]
    assert (entry["username"], entry["since"], entry["rtt_ms"]) == ("ann", since, 2.0)
    assert entry["behind"] == 2


def test_presence_reports_the_first_session_that_comes_and_the_last_that_goes(stage: Stage) -> None:
    bob = stage.enter("bob")
    presence(stage)
    bob.receive()
    ann = stage.enter("ann")
    presence(stage)
    assert bob.receive_one("presence")["joined"] == ["ann"]
    further = another(stage, ann, "lobby")
    presence(stage)
    cut(ann)
    presence(stage)
    assert not bob.receive()
    cut(further)
    presence(stage)
    left = bob.receive_one("presence")
    assert (left["left"], left["count"]) == (["ann"], 1)
    stage.check()


def test_round_trip_is_that_of_the_session_heard_last(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    further = another(stage, ann)
    ann.link.tcp_ms, further.link.tcp_ms = 9.0, 2.0
    for heard, expected in ((ann, 9.0), (further, 2.0), (ann, 9.0)):
        stage.clock.advance(1)
        heard.execute(commands.Ping())
        bob.execute(commands.Rtt(username="ann"))
        assert bob.receive_one("rtt")["tcp_ms"] == expected
    further.execute(commands.Rtt())  # its own, if no user is named
    assert further.receive("rtt")[0]["tcp_ms"] == 2.0


# Conversations


def test_opening_closing_and_messages_reach_all_sessions_of_both_users(stage: Stage) -> None:
    sessions = ann, ann2, _, bob2 = pair(stage)
    ann2.execute(commands.Open(peer="bob", ref="o"))
    stage.commit()
    for peer in sessions:
        opened = peer.receive("opened")[0]
        assert (opened["with"], opened["by"]) == ("bob" if peer in {ann, ann2} else "ann", "ann")
        assert opened.get("ref") == ("o" if peer is ann2 else None)
    stage.check()
    for number, author in enumerate(sessions, start=1):
        author.send_message(room="@ann,bob", ref=f"r{number}")
        stage.commit()
        for peer in sessions:
            message = peer.receive_one("message")
            assert (message["from"], message["seq"], message["ref"]) == (author.id, number, f"r{number}")
    bob2.execute(commands.Close(peer="ann", ref="c"))
    for peer in sessions:
        closed = peer.receive_one("closed")
        assert (closed["with"], closed["by"]) == ("bob" if peer in {ann, ann2} else "ann", "bob")
        assert closed.get("ref") == ("c" if peer is bob2 else None)
    assert {one.session.identity.opened_count for one in sessions} == {0}
    stage.check()


def test_message_of_any_session_opens_the_conversation_for_all(stage: Stage) -> None:
    sessions = _, ann2, _, bob2 = pair(stage)
    bob2.send_message(to="ann")
    stage.commit()
    assert [kinds(peer) for peer in sessions] == [["opened", "message"]] * 4
    ann2.execute(commands.Close(peer="bob"))
    assert [kinds(peer) for peer in sessions] == [["closed"]] * 4
    ann2.send_message(room="@ann,bob")
    stage.commit()
    assert [kinds(peer) for peer in sessions] == [["opened", "message"]] * 4
    stage.check()


def test_session_that_comes_later_is_in_the_open_conversations(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    send_to(stage, bob, "ann")
    stage.enter("cid")
    open_with(stage, ann, "cid")
    close_with(ann, "cid")
    ann2 = another(stage, ann)
    assert set(ann2.session.memberships) == {"@ann,bob"}
    stage.check()
    ann.receive()
    bob.receive()
    ann2.send_message(room="@ann,bob", ref="1")
    stage.commit()
    assert [peer.receive_one("message")["seq"] for peer in (ann, ann2, bob)] == [2, 2, 2]
    ann2.execute(commands.Open(peer="bob"))
    assert ann2.receive_one("opened")["seq"] == 2


def test_lag_of_one_session_is_no_other_s(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage)
    send_to(stage, bob, "ann")
    stop_reading(ann2)
    for _ in range(3):
        send_to(stage, bob, "ann")
    assert [message["seq"] for message in ann.messages("@ann,bob")] == [1, 2, 3, 4]
    assert ann.session.lagging is None
    assert ann2.session.lagging is not None
    close_with(bob, "ann")
    assert kinds(ann)[-1] == "closed"
    read_again(stage, ann2)
    assert kinds(ann2) == ["opened", *["message"] * 4, "closed"]
    stage.check()


# The end of a session


def test_end_of_a_session_leaves_name_and_conversations_to_the_others(stage: Stage) -> None:
    # Given a user with three sessions, and a conversation that it has opened
    ann, bob = stage.enter("ann"), stage.enter("bob")
    send_to(stage, ann, "bob")
    ann2, ann3 = another(stage, ann), another(stage, ann)
    for peer in (ann, bob):
        peer.receive()

    # When two of them end: one is cut off, one quits
    cut(ann)
    ann2.execute(commands.Quit())
    ann2.disconnect()
    stage.check()

    # Then nobody is sent `closed`, and the third one goes on
    assert not bob.receive()
    assert bob.session.identity.opened_count == 0
    assert ann3.session.identity.opened_count == 1
    send_to(stage, bob, "ann")
    ann3.send_message(room="@ann,bob")
    stage.commit()
    assert [message["seq"] for message in ann3.messages()] == [2, 3]
    late = stage.connect()
    late.execute(commands.Hello(username="ann"))
    assert late.receive_one("error")["code"] == "name_taken"

    # When the last one ends, then the conversation is closed, and the name is free
    cut(ann3)
    assert kinds(bob) == ["message", "message", "closed"]
    stage.enter("ann")
    stage.check()


def test_end_of_a_session_stores_no_closing_while_others_remain(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage, resumable=True)
    send_to(stage, bob, "ann")
    ann.execute(commands.Quit())
    ann.disconnect()
    stage.commit()
    assert {state.closed_by for state in stage.store.states} == {None}
    stage.check()
    ann2.execute(commands.Quit())
    assert stage.store.states[-1].closed_by == ann2.session.identity.id
    ann2.disconnect()
    assert bob.receive("closed")
    stage.check()


def test_lagging_session_ends_without_a_trace(stage: Stage) -> None:
    _, ann2, bob, _ = pair(stage)
    send_to(stage, bob, "ann")
    stop_reading(ann2)
    for _ in range(3):
        send_to(stage, bob, "ann")
    assert ann2.session.lagging is not None
    cut(ann2)
    session = ann2.session
    assert (session.lagging, session.memberships) == (None, {})
    stage.check()


def test_held_session_expires_without_the_others(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage, resumable=True)
    send_to(stage, bob, "ann")
    acknowledge(ann, ann2, bob)
    cut(ann2)
    send_to(stage, bob, "ann")
    assert [message["seq"] for message in ann.messages("@ann,bob")] == [1, 2]
    expire(stage)
    end_expired(stage)
    stage.commit()
    assert ann2.session.closed
    assert not bob.receive("closed")
    send_to(stage, bob, "ann")
    assert [message["seq"] for message in ann.messages("@ann,bob")] == [1, 2, 3]
    stage.check()


def test_held_session_is_resumed_beside_the_others(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage, resumable=True)
    send_to(stage, bob, "ann")
    acknowledge(ann, ann2, bob)
    cut(ann2)
    send_to(stage, bob, "ann")
    late = stage.connect()
    resume = commands.Resume(session=ann2.id, epoch=stage.store.epoch, rooms={"@ann,bob": 1})
    late.execute(commands.Hello(username="ann", resume=resume))
    stage.run_backfill()
    welcome, message = late.receive()
    assert (welcome["resumed"], welcome["id"], message["seq"]) == (True, ann2.id, 2)
    stage.check()


def test_sessions_that_expire_together_close_the_conversation_once(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage, resumable=True)
    send_to(stage, bob, "ann")
    acknowledge(ann, ann2, bob)
    for peer in (ann, ann2):
        cut(peer)
    expire(stage)
    end_expired(stage)
    stage.commit()
    assert len(bob.receive("closed")) == 1
    assert "ann" not in stage.hub.directory
    stage.check()


def test_closing_that_is_stored_is_carried_out_although_a_session_has_come(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    send_to(stage, bob, "ann")
    acknowledge(ann)
    cut(ann)
    expire(stage)
    further = another(stage, ann)
    end_expired(stage)
    (conversation,) = stage.hub.conversations.by_pair.values()
    assert conversation.state is ConversationState.CLOSED
    assert kinds(further) == kinds(bob)[-1:] == ["closed"]
    stage.check()


def test_kick_disconnects_all_sessions(stage: Stage) -> None:
    ann, ann2, bob, _ = pair(stage, resumable=True)
    ann3 = another(stage, ann, resumable=True)
    send_to(stage, bob, "ann")
    acknowledge(ann, ann2, ann3)
    cut(ann2)
    stage.hub.lifecycle.kick(ann.session.identity)
    assert (ann.link.ended, ann3.link.ended) == ("kicked", "kicked")
    for peer in (ann, ann3):
        peer.disconnect()
    assert len(bob.receive("closed")) == 1
    assert "ann" not in stage.hub.directory
    stage.check()
