"""Retention, for every engine: which messages are deleted, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.engines.kinds import Kind, SetClock
from support.engines.pen import Pen, Room, texts


def all_of(engine: Any, *, keep: int = 0, before: float = 0.0) -> Iterator[dict[int, int]]:
    """Trim until nothing is left, in at most 1,000 steps."""
    for _ in range(1000):
        trimmed = engine.trim(keep=keep, before=before)
        if not trimmed:
            return
        yield trimmed
    pytest.fail("trim never ends")


def write_at(pen: Pen, clock: SetClock, room: Room, *times: float) -> None:
    """Write messages with these timestamps, and with them as text."""
    for at in times:
        clock.now = at
        pen.write((room, f"{at:g}"))


def test_trim_without_limits_deletes_nothing(engine: Any) -> None:
    pen = Pen(engine)
    pen.say("a", "one", "two")
    assert engine.trim(keep=0, before=0.0) == {}
    assert texts(engine, pen.room("a")) == ["one", "two"]


def test_trim_by_count_keeps_newest_of_each_room(engine: Any) -> None:
    pen = Pen(engine)
    messages = pen.say("a", *"12345")
    pen.say("b", *"12")
    conversation = pen.conversation("@ann,bob", (1, 2))
    for text in "1234":
        pen.write((conversation, text))
    assert list(all_of(engine, keep=3)) == [{pen.room("a").id: 2, conversation.id: 1}]
    assert texts(engine, pen.room("a")) == ["3", "4", "5"]
    assert texts(engine, pen.room("b")) == ["1", "2"]
    assert texts(engine, conversation) == ["2", "3", "4"]
    kept = [engine.find(message.stored_at) is not None for message in messages]
    assert kept == [False, False, True, True, True]
    assert [message.seq for message in pen.say("a", "6")] == [6]


def test_trim_by_age_stops_at_first_newer_log_row(engine: Any, clock: SetClock) -> None:
    """After the clock was set back, old rows that follow a newer one in the log are deleted with it."""
    pen = Pen(engine)
    a, b = pen.room("a"), pen.room("b")
    write_at(pen, clock, a, 100)
    write_at(pen, clock, b, 101)
    write_at(pen, clock, a, 200)
    write_at(pen, clock, b, 50, 51)  # the clock was set back
    write_at(pen, clock, a, 300)
    assert list(all_of(engine, before=150.0)) == [{a.id: 1, b.id: 1}]
    assert (texts(engine, a), texts(engine, b)) == (["200", "300"], ["50", "51"])
    assert list(all_of(engine, before=200.0)) == []  # not older than
    assert list(all_of(engine, before=201.0)) == [{a.id: 2, b.id: 3}]
    assert (texts(engine, a), texts(engine, b)) == (["300"], [])


def test_trim_never_deletes_last_row_of_the_log(engine: Any, clock: SetClock) -> None:
    pen = Pen(engine)
    a, b = pen.room("a"), pen.room("b")
    write_at(pen, clock, a, 1, 2)
    assert list(all_of(engine, before=1e9)) == [{a.id: 1}]
    assert texts(engine, a) == ["2"]
    write_at(pen, clock, b, 3)
    assert list(all_of(engine, before=1e9)) == [{a.id: 2}]
    assert texts(engine, a) == []
    (message,) = pen.say("a", "three")
    assert message.seq == 3
    assert texts(engine, a) == ["three"]


def test_trim_of_many_messages_takes_bounded_steps(
    kind: Kind, engine: Any, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind.take_small_steps(monkeypatch)
    pen = Pen(engine)
    rooms = [pen.room(name) for name in "abcdefg"]
    for number in range(15):
        pen.write(*((room, str(number)) for room in rooms))
    left = [15] * len(rooms)
    for trimmed in all_of(engine, keep=2):
        now = [len(texts(engine, room)) for room in rooms]
        assert 0 < sum(left) - sum(now) <= 10
        assert trimmed == {
            room.id: 15 - kept for room, kept, had in zip(rooms, now, left, strict=True) if kept != had
        }
        left = now
    assert left == [2] * len(rooms)
    assert sum(len(trimmed) for trimmed in all_of(engine, before=clock.now + 1)) >= len(rooms)
    assert [len(texts(engine, room)) for room in rooms] == [0] * 6 + [1]
