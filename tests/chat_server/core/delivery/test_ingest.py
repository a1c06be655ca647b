"""Ingest: batches, barriers, a failing store, refs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.core.delivery.committer import APPEND_RETRY_INTERVAL_S
from chat_server.core.sessions.session import REFS_KEPT

if TYPE_CHECKING:
    from support.core_stage.stage import Stage


def test_message_not_stored_yet_is_not_delivered(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("hi", ref="1")
    assert not ann.receive()
    assert not bob.receive()
    stage.commit()
    shown = ann.receive_one("message")
    assert bob.receive_one("message") == shown
    assert (shown["seq"], shown["from"], shown["ref"]) == (1, ann.id, "1")
    stage.check()


def test_messages_during_a_commit_form_one_batch(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    for number in range(5):
        ann.send_message(str(number))
        bob.send_message(str(number))
    assert stage.wakes == 1
    stage.commit()
    assert [len(batch) for batch in stage.store.batches] == [10]
    assert [frame["seq"] for frame in ann.messages()] == list(range(1, 11))


def test_queue_over_its_bound_is_full_until_stored(make_stage: type[Stage]) -> None:
    stage = make_stage(bound=1000)
    ann = stage.enter("ann")
    ann.send_message("x" * 2000)
    assert stage.ingest.full
    signal = ann.link.new_signal()
    stage.ingest.notify_when_space(signal)
    stage.commit()
    assert signal.is_set
    assert stage.ingest.queued_bytes == 0


def test_store_failing_briefly_delays_messages_only(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "locked"
    ann.send_message("one", ref="1")
    assert stage.committer.commit() == APPEND_RETRY_INTERVAL_S
    assert stage.committer.last_error == "locked"
    ann.send_message("two", ref="2")
    stage.clock.advance(0.5)
    assert stage.committer.commit() == APPEND_RETRY_INTERVAL_S
    assert not ann.receive()
    stage.store.failing = None
    stage.commit()
    assert [(frame["seq"], frame["ref"]) for frame in ann.receive("message")] == [(1, "1"), (2, "2")]
    assert stage.committer.last_error is None
    stage.check()


def test_message_refused_after_patience_can_be_sent_again_with_its_ref(stage: Stage) -> None:
    """Senders are notified, seqs stay without a gap, and refused messages may be sent again."""
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("before")
    stage.commit()
    ann.receive()
    bob.receive()
    stage.store.failing = "disk full"
    ann.send_message("lost", ref="1")
    bob.send_message("lost too", ref="b")
    stage.commit()
    for peer, ref in ((ann, "1"), (bob, "b")):
        error = peer.receive_one("error")
        assert (error["code"], error["ref"]) == ("unavailable", ref)
    assert stage.committer.refused_messages == 2
    assert stage.hub.stats.errors["unavailable"] == 2
    stage.store.failing = None
    ann.send_message("not lost", ref="1")
    stage.commit()
    assert [frame["seq"] for frame in bob.receive("message")] == [2]
    assert ann.receive_one("message")["message"] == "not lost"
    stage.check()


def test_message_after_patience_has_ended_is_refused_at_once(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message()
    stage.commit()
    ann.receive()
    ann.send_message()
    assert stage.committer.commit() is None
    assert ann.receive_one("error")["code"] == "unavailable"


def test_store_that_failed_is_probed_with_an_empty_batch(stage: Stage) -> None:
    # Given a store whose failure has been reported, and no more messages
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message(ref="1")
    stage.commit()
    ann.receive()

    # When it is probed, then its state is known, and no peer gets anything
    stage.store.failing = "database is locked"
    assert stage.committer.commit() is None
    assert stage.committer.last_error == "database is locked"
    assert stage.committer.idle
    stage.store.failing = None
    assert stage.committer.commit() is None
    assert stage.committer.last_error is None
    assert not ann.receive()
    assert stage.committer.refused_messages == 1

    # And a store that works is not probed
    tried = len(stage.store.batches)
    assert stage.committer.commit() is None
    assert len(stage.store.batches) == tried == 1
    stage.check()


def test_barrier_alone_does_not_probe_a_failed_store(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message()
    stage.commit()
    barrier = stage.ingest.add_barrier(ann.link.new_signal())
    stage.commit()
    assert not barrier.failed
    assert stage.committer.last_error == "disk full"


def test_messages_behind_a_refused_batch_are_refused(stage: Stage) -> None:
    """Its room was to be stored by the batch in front: alone it would be a message of no room."""
    ann = stage.enter("ann", "new")
    stage.store.failing = "disk full"
    ann.send_message("front", "new", ref="1")
    stage.committer.commit()
    ann.send_message("behind", "new", ref="2")
    stage.clock.advance(2)
    assert stage.committer.commit() is None
    assert stage.committer.idle
    assert [(frame["code"], frame["ref"]) for frame in ann.receive()] == [
        ("unavailable", "1"),
        ("unavailable", "2"),
    ]
    stage.store.failing = None
    ann.send_message("again", "new", ref="2")
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    (changes,) = stage.store.changes
    assert [room.name for room in changes.rooms] == ["new"]
    assert [identity.name for identity in changes.identities] == ["ann"]
    stage.check()


def test_refusal_signals_readers_waiting_for_space(make_stage: type[Stage]) -> None:
    stage = make_stage(bound=1000)
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message("x" * 2000)
    signal = ann.link.new_signal()
    stage.ingest.notify_when_space(signal)
    stage.commit()
    assert signal.is_set


def test_batch_that_raises_in_the_store_is_refused_and_raised(stage: Stage) -> None:
    """An internal error must not block all later messages."""
    ann = stage.enter("ann")
    stage.store.broken = RuntimeError("ours")
    ann.send_message("poison", ref="1")
    with pytest.raises(RuntimeError, match="ours"):
        stage.committer.commit()
    assert ann.receive_one("error")["code"] == "unavailable"
    stage.store.broken = None
    ann.send_message("fine", ref="1")
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    stage.check()


def test_barrier_is_reached_after_messages_before_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("before")
    signal = ann.link.new_signal()
    barrier = stage.ingest.add_barrier(signal)
    ann.send_message("after")
    assert not signal.is_set
    stage.committer.commit()
    assert signal.is_set
    assert not barrier.failed
    assert [frame["message"] for frame in ann.receive()] == ["before", "after"]


def test_barrier_behind_a_refused_batch_fails(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message("before")
    signal = ann.link.new_signal()
    barrier = stage.ingest.add_barrier(signal)
    stage.commit()
    assert signal.is_set
    assert barrier.failed


# Refs


def test_ref_sent_twice_is_one_message_with_the_first_text(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("first", ref="1")
    stage.commit()
    original = ann.receive_one("message")
    bob.receive()
    ann.send_message("second", ref="1")
    stage.commit()
    assert ann.receive_one("message") == original | {"again": True}
    assert not bob.receive()


def test_ref_repeated_while_pending_is_answered_after_the_event(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    for text in ("first", "second", "third"):
        ann.send_message(text, ref="1")
    stage.commit()
    original, *others = ann.receive()
    assert "again" not in original
    assert others == [original | {"again": True}] * 2
    assert bob.receive_one("message") == original


def test_ref_of_another_session_is_another_message(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("ann's", ref="1")
    bob.send_message("bob's", ref="1")
    stage.commit()
    assert [frame["message"] for frame in ann.messages()] == ["ann's", "bob's"]


def test_refs_older_than_the_last_1024_are_forgotten(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(REFS_KEPT + 1):
        ann.send_message(str(number), ref=str(number))
        if number % 100 == 0:
            stage.commit()
    stage.commit()
    ann.receive()
    ann.send_message("again", ref="1")  # the oldest that is known
    assert ann.receive_one("message")["again"]
    ann.send_message("new", ref="0")  # pushed out
    stage.commit()
    assert ann.receive_one("message")["seq"] == REFS_KEPT + 2
    stage.check()


def test_refs_pending_beyond_the_bound_are_acknowledged(stage: Stage) -> None:
    """Refs that newer ones have evicted do not return when they are stored, and evict none."""
    ann = stage.enter("ann")
    for number in range(2 * REFS_KEPT):
        ann.send_message(ref=str(number))
    stage.commit()
    stage.check()
    ann.receive()
    for number in (REFS_KEPT, 2 * REFS_KEPT - 1):
        ann.send_message(ref=str(number))
        assert ann.receive_one("message")["again"]
    ann.send_message(ref=str(REFS_KEPT - 1))
    stage.commit()
    assert "again" not in ann.receive_one("message")


def test_ref_of_an_unreadable_message_is_unavailable(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message(ref="1")
    stage.commit()
    ann.receive()
    stage.store.unreadable = True
    ann.send_message(ref="1")
    assert ann.receive_one("error")["code"] == "unavailable"
    stage.store.unreadable = False
    ann.send_message(ref="1")
    assert ann.receive_one("message")["again"]


def test_ref_of_a_deleted_message_is_not_stored_again(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message(ref="1")
    stage.commit()
    ann.receive()
    stage.store._places.clear()
    ann.send_message(ref="1")
    stage.commit()
    assert ann.receive_one("error")["ref"] == "1"
    assert len(stage.stored) == 1


# What a batch brings into the store, beside messages


def test_identities_and_rooms_are_stored_once_before_their_messages(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one")
    bob.send_message("two")
    ann.send_message("three")
    stage.commit()
    ann.send_message("four")
    stage.commit()
    (changes,) = stage.store.changes
    assert [identity.name for identity in changes.identities] == ["ann", "bob"]
    assert [room.name for room in changes.rooms] == ["lobby"]
    assert [len(batch) for batch in stage.store.batches] == [3, 1]


def test_batch_is_counted_in_the_statistics(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.enter("bob")
    ann.send_message("one")
    stage.clock.advance(0.25)
    ann.execute(commands.Ping())  # a command read later does not make the message younger
    stage.commit()
    stats = stage.hub.stats
    assert (stats.messages, stats.commits, stats.deliveries) == (1, 1, 2)
    assert stats.accept_to_commit == {250_000: 1}
    assert stats.rooms["lobby"].deliveries == 2
    assert stats.bytes_out == 2 * len(ann.lines[-1])


def test_commit_without_messages_is_not_counted(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.enter("bob")
    stage.ingest.add_barrier(ann.link.new_signal())
    stage.commit()
    ann.execute(commands.Open(peer="bob"))
    stage.commit()
    assert stage.store.changes  # the conversation
    assert stage.hub.stats.commits == 0
    ann.send_message()
    stage.commit()
    assert stage.hub.stats.commits == 1
