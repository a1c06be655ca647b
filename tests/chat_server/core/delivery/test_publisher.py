from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chat_protocol import commands
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_server.core.delivery.observer import Observer, Observers
from support.fakes.plain_fan_out import PlainFanOut

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


class BrokenObserver(Observer):
    """Raises whatever happens."""

    def messages_stored(self, messages: Any) -> None:
        raise RuntimeError(f"stored {len(messages)}")

    def session_opened(self, session: Any, *, resumed: bool) -> None:
        raise RuntimeError(f"opened {session} {resumed}")

    def session_lagging(self, session: Any, lagging: Any) -> None:
        raise RuntimeError(f"lagging {session} {lagging}")

    def session_caught_up(self, session: Any, lagging: Any) -> None:
        raise RuntimeError(f"caught up {session} {lagging}")


class ErrorList(Observer):
    """Keeps the errors, and what is stored."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.stored = 0

    def delivery_failed(self, error: Exception) -> None:
        self.errors.append(str(error))

    def messages_stored(self, messages: Any) -> None:
        self.stored += len(messages)


def test_observer_that_raises_stops_no_other_and_is_reported() -> None:
    last = ErrorList()
    observers = Observers(BrokenObserver(), last)
    ann: Any = "ann"
    lagging: Any = "2 rooms"
    observers.messages_stored([ann])
    observers.session_opened(ann, resumed=True)
    observers.session_lagging(ann, lagging)
    observers.session_caught_up(ann, lagging)
    assert last.stored == 1
    assert last.errors == ["stored 1", "opened ann True", "lagging ann 2 rooms", "caught up ann 2 rooms"]


def test_observer_that_raises_delays_no_answer(stage: Stage) -> None:
    # Given an observer that fails at each commit
    ann = stage.enter("ann")
    errors = ErrorList()
    stage.publisher._observers = Observers(BrokenObserver(), errors)
    # When a message is sent twice before it is stored, and a barrier is behind it
    ann.send_message("hi", ref="1")
    ann.send_message("hi", ref="1")
    signal = ann.link.new_signal()
    stage.ingest.add_barrier(signal)
    stage.commit()
    # Then all are answered
    assert [frame.get("again", False) for frame in ann.receive("message")] == [False, True]
    assert signal.is_set
    assert errors.errors == ["stored 1"]


def test_recipient_that_raises_stops_no_other_room(stage: Stage) -> None:
    # Given members of two rooms, and an outbox in the first that breaks its promise
    ann, bob = stage.enter("ann", "attic", "hall"), stage.enter("bob", "attic")

    def offer(_data: bytes) -> bool:
        raise RuntimeError("broken outbox")

    bob.outbox.offer = offer  # type: ignore[method-assign, assignment]
    ann.receive()
    # When a commit has messages for both
    ann.send_message("one", room="attic")
    ann.send_message("two", room="hall")
    stage.committer.commit()
    # Then the other room has its message, and the failure is reported
    assert "two" in [frame["message"] for frame in ann.receive("message")]
    assert [str(error) for error in stage.observer.errors] == ["broken outbox"]


def test_dialect_that_raises_stops_no_other_and_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given members in two dialects, of which one cannot encode messages for a while
    ann, bob = stage.enter("ann"), stage.enter("bob", encoding=TWO_FIELD)
    bob.outbox.data = b""

    def encode(_events: object) -> bytes:
        raise RuntimeError("a bug of a dialect")

    with monkeypatch.context() as broken:
        broken.setattr(TWO_FIELD, "encode_messages", encode)
        # When messages are delivered
        ann.send_message("one", ref="1")
        stage.commit()
        ann.send_message("two", ref="2")
        stage.commit()
    # Then the others have them, the failure is reported, and those of that dialect get them from the log
    assert [frame["seq"] for frame in ann.receive("message")] == [1, 2]
    assert {str(error) for error in stage.observer.errors} == {"a bug of a dialect"}
    stage.observer.errors.clear()
    stage.hub.backfill.mark_ready(bob.session)
    stage.run_backfill()
    shown = [json.loads(line)["message"] for line in bob.lines]
    assert shown[-2:] == ["one", "two"]
    stage.check()


def test_opening_that_raises_stops_neither_messages_nor_barriers(stage: Stage) -> None:
    # Given an opening that fails by a bug, a message behind it, and a greenlet that waits for both
    ann, bob = stage.enter("ann"), stage.enter("bob")

    def fail(_opening: object) -> None:
        raise RuntimeError("a bug of an opening")

    stage.publisher._on_opening_done = fail
    ann.execute(commands.Open(peer="bob"))
    bob.send_message("hi")
    signal = ann.link.new_signal()
    stage.ingest.add_barrier(signal)
    # When they are committed
    stage.committer.commit()
    # Then the message is delivered, the greenlet goes on, and the bug is reported
    assert [frame["message"] for frame in ann.receive("message")] == ["hi"]
    assert signal.is_set
    assert [str(error) for error in stage.observer.errors] == ["a bug of an opening"]


class LateFanOut(PlainFanOut):
    """A fan-out of which some outboxes always wait for a later round."""

    def __init__(self) -> None:
        self.marks: list[Callable[[], None]] = []

    def offer(self, outboxes: Any, chunk: bytes, /) -> list[Any]:
        self.deferred += 1
        return super().offer(outboxes, chunk)

    def when_sent(self, callback: Callable[[], None], /) -> None:
        self.marks.append(callback)


def send_late(stage: Stage, member: Peer) -> LateFanOut:
    """Give the server, and the one room of `member`, a fan-out of which some outboxes always wait."""
    fan_out = LateFanOut()
    stage.publisher._fan_out = fan_out
    (membership,) = member.session.memberships.values()
    membership.room._fan_out = fan_out.offer
    return fan_out


def test_commit_to_sent_is_recorded_once_the_last_member_was_sent_to(stage: Stage) -> None:
    # Given a message of which some members have nothing yet
    ann = stage.enter("ann")
    fan_out = send_late(stage, ann)
    ann.send_message("hi")
    stage.commit()
    stats = stage.hub.stats
    assert not stats.commit_to_sent
    assert not stats.rooms["lobby"].commit_to_sent
    # When they have, two seconds later
    stage.clock.now += 2
    fan_out.marks[0]()
    # Then that is the time to the last send, of the server and of the room
    assert stats.commit_to_sent == {2_000_000: 1}
    assert stats.rooms["lobby"].commit_to_sent == {2_000_000: 1}


def test_authors_of_a_large_room_are_sent_to_first(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a message of two authors to a room that takes several rounds
    ann, bob, carl = stage.enter("ann"), stage.enter("bob"), stage.enter("carl")
    sent: list[Any] = []
    monkeypatch.setattr(type(ann.outbox), "send_deferred", lambda outbox: sent.extend([outbox]))
    for author in (bob, ann, bob):
        author.send_message("hi")
    stage.commit()
    assert sent == []  # nobody waits
    send_late(stage, ann)
    for author in (bob, ann, bob):
        author.send_message("hi")
    stage.commit()
    # Then they have it, once each, and the others wait
    assert sent == [bob.outbox, ann.outbox]
    assert carl.outbox not in sent
