"""Into the log and out to the rooms: batches, barriers, a store that fails, refs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol import commands
from chat_server.core.delivery.ingest import RETRY_AFTER_S
from chat_server.core.sessions.session import REFS_KEPT

if TYPE_CHECKING:
    from chat_server.core.conftest import Stage


def test_a_message_is_shown_to_nobody_before_it_is_stored(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("hi", ref="1")
    assert not ann.receive()
    assert not bob.receive()
    stage.commit()
    shown = ann.receive_one("message")
    assert bob.receive_one("message") == shown
    assert (shown["seq"], shown["from"], shown["ref"]) == (1, ann.id, "1")
    stage.check()


def test_what_arrives_during_a_commit_is_one_next_batch(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    for number in range(5):
        ann.send_message(str(number))
        bob.send_message(str(number))
    assert stage.wakes == 1
    stage.commit()
    assert [len(batch.messages) for batch in stage.store.batches] == [10]
    assert [frame["seq"] for frame in ann.messages()] == list(range(1, 11))


def test_the_queue_is_over_its_bound_until_it_is_stored(make_stage: type[Stage]) -> None:
    stage = make_stage(bound=1000)
    ann = stage.enter("ann")
    ann.send_message("x" * 2000)
    assert stage.ingest.full
    signal = ann.link.new_signal()
    stage.ingest.notify_when_space(signal)
    stage.commit()
    assert signal.is_set
    assert stage.ingest.queued_bytes == 0


def test_a_store_that_fails_for_a_moment_costs_no_more_than_time(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "locked"
    ann.send_message("one", ref="1")
    assert stage.ingest.commit() == RETRY_AFTER_S
    assert stage.ingest.last_error == "locked"
    ann.send_message("two", ref="2")
    stage.clock.advance(0.5)
    assert stage.ingest.commit() == RETRY_AFTER_S
    assert not ann.receive()
    stage.store.failing = None
    stage.commit()
    assert [(frame["seq"], frame["ref"]) for frame in ann.receive("message")] == [(1, "1"), (2, "2")]
    assert stage.ingest.last_error is None
    stage.check()


def test_patience_has_an_end_and_then_the_same_ref_works_again(stage: Stage) -> None:
    """The refused are told so, seqs stay without a gap, and what was refused may be sent again."""
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
    assert stage.ingest.refused_messages == 2
    assert stage.hub.stats.errors["unavailable"] == 2
    stage.store.failing = None
    ann.send_message("not lost", ref="1")
    stage.commit()
    assert [frame["seq"] for frame in bob.receive("message")] == [2]
    assert ann.receive_one("message")["message"] == "not lost"
    stage.check()


def test_after_patience_has_ended_others_do_not_wait_as_long_again(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message()
    stage.commit()
    ann.receive()
    ann.send_message()
    assert stage.ingest.commit() is None
    assert ann.receive_one("error")["code"] == "unavailable"


def test_a_store_that_failed_is_tried_with_nothing_until_it_takes_it(stage: Stage) -> None:
    # Given a store whose failure has been told to everybody, and nobody says more
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message(ref="1")
    stage.commit()
    ann.receive()

    # When it is tried again, then it is known whether it works, and nobody is told anything
    stage.store.failing = "database is locked"
    assert stage.ingest.commit() is None
    assert stage.ingest.last_error == "database is locked"
    assert stage.ingest.idle
    stage.store.failing = None
    assert stage.ingest.commit() is None
    assert stage.ingest.last_error is None
    assert not ann.receive()
    assert stage.ingest.refused_messages == 1

    # And a store that works is not tried
    tried = len(stage.store.batches)
    assert stage.ingest.commit() is None
    assert len(stage.store.batches) == tried == 1
    stage.check()


def test_a_barrier_asks_nothing_of_a_store_that_failed(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message()
    stage.commit()
    barrier = stage.ingest.add_barrier(ann.link.new_signal())
    stage.commit()
    assert not barrier.failed
    assert stage.ingest.last_error == "disk full"


def test_what_was_queued_behind_a_refused_batch_is_refused_with_it(stage: Stage) -> None:
    """Its room was to be stored by the batch in front: alone it would be a message of no room."""
    ann = stage.enter("ann", "new")
    stage.store.failing = "disk full"
    ann.send_message("front", "new", ref="1")
    stage.ingest.commit()
    ann.send_message("behind", "new", ref="2")
    stage.clock.advance(2)
    assert stage.ingest.commit() is None
    assert stage.ingest.idle
    assert [(frame["code"], frame["ref"]) for frame in ann.receive()] == [
        ("unavailable", "1"),
        ("unavailable", "2"),
    ]
    stage.store.failing = None
    ann.send_message("again", "new", ref="2")
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    (batch,) = stage.store.batches
    assert [record.name for record in batch.registry_changes.rooms] == ["new"]
    assert [identity.name for identity in batch.registry_changes.identities] == ["ann"]
    stage.check()


def test_a_refusal_makes_room_for_those_who_wait_for_it(make_stage: type[Stage]) -> None:
    stage = make_stage(bound=1000)
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message("x" * 2000)
    signal = ann.link.new_signal()
    stage.ingest.notify_when_space(signal)
    stage.commit()
    assert signal.is_set


def test_a_batch_that_breaks_the_store_is_refused_and_said(stage: Stage) -> None:
    """A fault of ours must not stand before all that come after it for ever."""
    ann = stage.enter("ann")
    stage.store.broken = RuntimeError("ours")
    ann.send_message("poison", ref="1")
    with pytest.raises(RuntimeError, match="ours"):
        stage.ingest.commit()
    assert ann.receive_one("error")["code"] == "unavailable"
    stage.store.broken = None
    ann.send_message("fine", ref="1")
    stage.commit()
    assert ann.receive_one("message")["seq"] == 1
    stage.check()


def test_a_barrier_is_reached_after_what_was_said_before_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.send_message("before")
    signal = ann.link.new_signal()
    barrier = stage.ingest.add_barrier(signal)
    ann.send_message("after")
    assert not signal.is_set
    stage.ingest.commit()
    assert signal.is_set
    assert not barrier.failed
    assert [frame["message"] for frame in ann.receive()] == ["before", "after"]


def test_a_barrier_behind_a_refused_batch_is_reached_as_failed(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.store.failing = "disk full"
    ann.send_message("before")
    signal = ann.link.new_signal()
    barrier = stage.ingest.add_barrier(signal)
    stage.commit()
    assert signal.is_set
    assert barrier.failed


# Refs


def test_the_same_ref_is_one_message_and_the_first_text_counts(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("first", ref="1")
    stage.commit()
    original = ann.receive_one("message")
    bob.receive()
    ann.send_message("second", ref="1")
    stage.commit()
    assert ann.receive_one("message") == original | {"again": True}
    assert not bob.receive()


def test_a_ref_that_comes_again_while_it_is_pending_is_answered_after_the_event(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    for text in ("first", "second", "third"):
        ann.send_message(text, ref="1")
    stage.commit()
    original, *others = ann.receive()
    assert "again" not in original
    assert others == [original | {"again": True}] * 2
    assert bob.receive_one("message") == original


def test_refs_belong_to_a_session(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("ann's", ref="1")
    bob.send_message("bob's", ref="1")
    stage.commit()
    assert [frame["message"] for frame in ann.messages()] == ["ann's", "bob's"]


def test_the_last_1024_refs_are_known_and_no_more(stage: Stage) -> None:
    ann = stage.enter("ann")
    for number in range(REFS_KEPT + 1):
        ann.send_message(str(number), ref=str(number))
        if number % 100 == 0:
            stage.commit()
    stage.commit()
    ann.receive()
    ann.send_message("again", ref="1")  # the oldest that is known
    assert ann.receive_one("message")["again"]
    ann.send_message("anew", ref="0")  # pushed out
    stage.commit()
    assert ann.receive_one("message")["seq"] == REFS_KEPT + 2
    stage.check()


def test_more_refs_than_are_kept_may_be_pending_at_once(stage: Stage) -> None:
    """What newer ones have pushed out does not come back when it is stored, and pushes nothing out itself."""
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


def test_a_ref_whose_message_cannot_be_read_is_refused_for_now(stage: Stage) -> None:
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


def test_a_ref_whose_message_is_no_longer_kept_makes_no_second_one(stage: Stage) -> None:
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


def test_identities_and_rooms_are_stored_once_and_before_their_messages(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    ann.send_message("one")
    bob.send_message("two")
    ann.send_message("three")
    stage.commit()
    ann.send_message("four")
    stage.commit()
    first, second = stage.store.batches
    assert [identity.name for identity in first.registry_changes.identities] == ["ann", "bob"]
    assert [record.name for record in first.registry_changes.rooms] == ["lobby"]
    assert second.registry_changes is None


def test_all_of_a_batch_counts_in_the_statistics(stage: Stage) -> None:
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


def test_a_commit_counts_when_it_has_messages(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.enter("bob")
    stage.ingest.add_barrier(ann.link.new_signal())
    stage.commit()
    ann.execute(commands.Open(peer="bob"))
    stage.commit()
    assert stage.store.batches  # the conversation
    assert stage.hub.stats.commits == 0
    ann.send_message()
    stage.commit()
    assert stage.hub.stats.commits == 1
