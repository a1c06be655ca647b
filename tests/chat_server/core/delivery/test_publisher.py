from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chat_protocol import commands
from chat_protocol.dialects.two_field import TWO_FIELD
from chat_server.core.delivery.observer import Observer, Observers

if TYPE_CHECKING:
    import pytest

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
