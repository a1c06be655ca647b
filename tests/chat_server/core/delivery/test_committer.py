"""The committer: the registry first, then the log; what remains if only one of them could be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_server.core.delivery.committer import APPEND_RETRY_INTERVAL_S
from chat_server.core.ports.log import ConversationRow

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_registry_is_not_written_again_when_the_append_is_retried(stage: Stage) -> None:
    ann = stage.enter("ann", "new")
    stage.store.append_failing = "disk full"
    ann.send_message("one", "new", ref="1")
    for _ in range(3):
        assert stage.committer.commit() == APPEND_RETRY_INTERVAL_S
    assert stage.committer.last_error == "disk full"
    assert not ann.receive()
    stage.store.append_failing = None
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    (changes,) = stage.store.changes
    assert [room.name for room in changes.rooms] == ["new"]
    assert stage.committer.last_error is None
    stage.check()


def test_room_and_identity_that_stay_stored_when_the_append_is_refused_are_found_again(stage: Stage) -> None:
    ann = stage.enter("ann", "new")
    stage.store.append_failing = "disk full"
    ann.send_message("lost", "new", ref="1")
    stage.commit()
    assert ann.receive_one("error")["code"] == "unavailable"
    stage.check()
    stage.store.append_failing = None
    ann.send_message("again", "new", ref="1")
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    assert [room.name for changes in stage.store.changes for room in changes.rooms] == ["new", "new"]
    assert stage.hub.rooms["new"].id == 1
    stage.check()


def test_room_without_messages_and_members_is_deleted_though_it_stays_stored(stage: Stage) -> None:
    ann = stage.enter("ann", "new")
    stage.store.append_failing = "disk full"
    ann.send_message("lost", "new")
    stage.commit()
    stage.store.append_failing = None
    ann.execute(commands.Leave(room="new"))
    assert "new" not in stage.hub.rooms
    stage.check()
    # And it is the same one for those that come later
    stage.enter("bob", "New").send_message("hi", "new")
    stage.commit()
    assert (stage.hub.rooms["new"].id, stage.hub.rooms["new"].head) == (1, 1)
    stage.check()


def test_conversation_keeps_its_stored_name_when_the_append_is_refused(stage: Stage) -> None:
    # Given an earlier conversation of other users with the same names
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.execute(commands.Open(peer="bob"))
    ann.disconnect(for_good=True)
    bob.disconnect(for_good=True)
    ann, bob = stage.enter("ann"), stage.enter("bob")
    # When the store takes the new conversation, and not its messages
    stage.store.append_failing = "disk full"
    ann.send_message("lost", to="bob", ref="1")
    stage.commit()
    assert {frame["code"] for frame in ann.receive("error")} == {"unavailable"}
    assert not bob.receive()
    stage.check()
    # Then it is opened under its stored name as soon as that works
    stage.store.append_failing = None
    ann.send_message("hi", to="bob", ref="1")
    stage.commit()
    assert [frame["room"] for frame in ann.receive()] == ["@ann,bob#2"] * 2
    assert [frame["room"] for frame in bob.receive()] == ["@ann,bob#2"] * 2
    assert [room.name for changes in stage.store.changes for room in changes.rooms] == ["@ann,bob"] * 3
    stage.check()


def test_session_that_stayed_stored_without_a_client_is_deleted(stage: Stage) -> None:
    other, ann = stage.enter("other"), stage.connect()
    stage.store.append_failing = "disk full"
    other.send_message("lost")
    ann.execute(commands.Hello(username="ann", resumable=True))
    assert ann.receive_one("error")["code"] == "unavailable"
    assert not stage.hub.directory.get("ann")
    stage.commit()  # also while the log fails
    assert stage.committer.last_error is None
    first, last = stage.store.changes
    assert last.ended_sessions == [one.id for one in first.sessions]
    assert len(last.ended_sessions) == 1
    stage.check()


def test_refused_closing_of_a_conversation_is_stored_later(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    stage.enter("bob", resumable=True)
    ann.send_message("hi", to="bob")
    stage.commit()
    written = len(stage.store.changes)
    stage.store.append_failing = "disk full"
    ann.execute(commands.Close(peer="bob"))
    stage.commit()
    (conversation,) = stage.hub.conversations.by_pair.values()
    room = conversation.room
    assert [state.since for state in stage.store.states if state.room == room.id] == [0]
    stage.store.append_failing = None
    stage.commit()
    # Bob's client has not acknowledged the opening: he would get everything again.
    assert stage.store.states[-1] == ConversationRow(room.id, 0, ann.session.identity.id)
    assert len(stage.store.changes) == written


def test_forgotten_conversation_is_released_after_its_last_message(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("hi", to="bob", ref="1")
    bob.disconnect(for_good=True)  # before anything of it is stored
    assert not stage.hub.conversations.by_pair
    stage.commit()
    assert [frame["seq"] for frame in ann.receive("message")] == [1]
    assert stage.store._heads == {}
    ann.send_message("one")
    stage.commit()
    assert stage.store._heads == {stage.hub.rooms["lobby"].id: 1}
    stage.check()


def test_release_of_a_conversation_waits_for_the_store(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    stage.store.append_failing = "disk full"
    ann.send_message("lost", to="bob", ref="1")
    stage.committer.commit()
    bob.disconnect(for_good=True)
    assert stage.store._heads  # the message may still be stored
    stage.clock.advance(2)
    stage.commit()
    assert {frame["code"] for frame in ann.receive("error")} == {"unavailable"}
    assert stage.store._heads == {}
    stage.check()


def test_what_is_stored_later_is_bounded_while_the_store_fails(stage: Stage) -> None:
    # Given resumable users with a conversation, and a store that fails for long
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob", resumable=True)
    ann.send_message(to="bob")
    stage.commit()
    stage.store.failing = "full"
    # When names are changed again and again, and the conversation is closed
    for number in range(50):
        ann.execute(commands.Rename(username=f"ann{number % 2}"))
    bob.execute(commands.Close(peer=ann.name))
    stage.commit()
    changes = stage.ingest._collecting.changes
    assert changes is not None
    assert changes.registry is not None
    assert len(changes.registry.renamed_sessions) == 1
    assert len(changes.states) == 1
    # Then the last of all is stored when it works again
    stage.store.failing = None
    stage.commit()
    (record,) = stage.store.changes[-1].renamed_sessions
    assert record.name == "ann1"
