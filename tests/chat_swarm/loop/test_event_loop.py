"""The reactor serves all, in order, never early, and one that fails stops no other."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_swarm.loop.event_loop import TICK_NS, Reactor
from chat_swarm.loop.native_epoll import EPOLLIN, EPOLLOUT
from chat_swarm.loop.timerfd import Alarm

PATIENCE = 20.0


class Told:
    def __init__(self) -> None:
        self.lags: list[int] = []
        self.errors: list[Exception] = []
        self.reactor = Reactor(self.lags.append, self.errors.append)


@pytest.fixture
def told() -> Iterator[Told]:
    one = Told()
    yield one
    one.reactor.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 20), max_size=30))
def test_timers_ring_in_order_and_never_early(delays: list[int]) -> None:
    one = Told()
    with contextlib.closing(one.reactor):
        rung: list[tuple[int, int]] = []
        start = time.monotonic_ns()

        def ring(moment: int) -> None:
            rung.append((moment, time.monotonic_ns()))

        moments = [start + delay * 100_000 for delay in delays]
        for moment in moments:
            one.reactor.at(moment, lambda moment=moment: ring(moment))  # type: ignore[misc]
        assert one.reactor.run(PATIENCE, lambda: len(rung) == len(moments))
        assert [moment for moment, _ in rung] == sorted(moments)
        assert all(when >= moment for moment, when in rung)


def test_a_timer_that_is_set_between_two_turns_waits_for_no_other(told: Told) -> None:
    told.reactor.turn()
    moment = time.monotonic_ns() + 1_000_000
    told.reactor.at(moment, lambda: None)
    told.reactor.at(moment + 500_000, lambda: None)
    assert told.reactor._alarm_ns == moment


def test_its_descriptor_is_readable_when_a_timer_is_due(told: Told) -> None:
    # As gevent's loop uses it: nobody waits in the reactor
    rung: list[int] = []
    told.reactor.after(0.005, lambda: rung.append(1))
    told.reactor.turn()
    deadline = time.monotonic() + PATIENCE
    with select.epoll() as outer:
        outer.register(told.reactor.fileno(), select.EPOLLIN)
        while not rung:
            assert time.monotonic() < deadline
            assert outer.poll(PATIENCE)
            told.reactor.turn()


def test_who_fails_stops_nobody(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    one, other = socket.socketpair()
    with one, other:
        rung: list[str] = []

        def fail(*_: object) -> None:
            raise ValueError("on purpose")

        told.reactor.watch(one.fileno(), EPOLLOUT, fail)
        told.reactor.watch(other.fileno(), EPOLLOUT, lambda _: rung.append("socket"))
        told.reactor.after(0, fail)
        told.reactor.after(0, lambda: rung.append("timer"))
        assert told.reactor.run(PATIENCE, lambda: {"socket", "timer"} <= set(rung))
        assert [str(error) for error in told.errors][:2] == ["on purpose", "on purpose"]
        assert "the swarm erred" in caplog.text
        told.reactor.forget(one.fileno())
        told.reactor.forget(other.fileno())


def test_who_was_forgotten_in_a_turn_is_not_called_in_it(told: Told) -> None:
    one, other = socket.socketpair()
    with one, other:
        called: list[int] = []

        def only(mine: socket.socket, theirs: socket.socket) -> None:
            called.append(mine.fileno())
            told.reactor.forget(theirs.fileno())

        told.reactor.watch(one.fileno(), EPOLLOUT, lambda _: only(one, other))
        told.reactor.watch(other.fileno(), EPOLLOUT, lambda _: only(other, one))
        told.reactor.turn()
        assert len(called) == 1
        told.reactor.forget(called[0])
        told.reactor.forget(called[0])
        assert not told.reactor.handlers


def test_a_loop_that_is_held_up_tells_by_how_much(told: Told) -> None:
    told.reactor.run(PATIENCE, lambda: bool(told.lags))
    del told.lags[:]
    time.sleep(0.1)
    told.reactor.run(PATIENCE, lambda: bool(told.lags))
    assert told.lags[0] >= 100_000_000 - TICK_NS
    assert min(told.lags) >= 0


def test_the_moment_before_a_read_moves_only_when_all_has_been_read(told: Told) -> None:
    told.reactor.turn()
    told.reactor.turn()
    before = told.reactor.previous_ns
    # Given a turn that left something unread
    told.reactor.behind = True
    told.reactor.turn()
    assert told.reactor.previous_ns == before
    # Then it moves on after the next, that has read it
    told.reactor.turn()
    assert told.reactor.previous_ns > before
    assert told.reactor.previous_ns <= time.time_ns()


def _note(called: set[int], fd: int, _: int) -> None:
    called.add(fd)


def test_more_than_one_turn_serves_leave_the_moment_where_it_was(told: Told) -> None:
    pairs = [socket.socketpair() for _ in range(300)]
    ends = [end for pair in pairs for end in pair]
    called: set[int] = set()
    try:
        for end in ends:
            told.reactor.watch(end.fileno(), EPOLLIN | EPOLLOUT, partial(_note, called, end.fileno()))
        told.reactor.turn()
        before = told.reactor.previous_ns
        assert told.reactor.behind
        told.reactor.turn()
        assert told.reactor.previous_ns == before
        assert len(called) == len(ends)
    finally:
        for end in ends:
            told.reactor.forget(end.fileno())
            end.close()


def test_an_alarm_rings_once_at_its_moment() -> None:
    alarm = Alarm()
    try:
        with select.epoll() as epoll:
            epoll.register(alarm.fd, select.EPOLLIN)
            assert not epoll.poll(0)
            moment = time.monotonic_ns() + 3_000_000
            alarm.set(moment)
            assert epoll.poll(PATIENCE)
            assert time.monotonic_ns() >= moment
            alarm.hush()
            assert not epoll.poll(0)
            alarm.hush()
            alarm.set(0)
            assert epoll.poll(PATIENCE)
    finally:
        alarm.close()
