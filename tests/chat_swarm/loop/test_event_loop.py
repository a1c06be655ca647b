"""The event loop: order and timing of timers, errors in handlers, lag, the time of the previous poll."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_swarm.loop.event_loop import LAG_PROBE_PERIOD_NS, EventLoop
from chat_swarm.loop.native_epoll import EPOLLIN, EPOLLOUT
from chat_swarm.loop.timerfd import TimerFd

PATIENCE_S = 20.0


class LoopRecorder:
    def __init__(self) -> None:
        self.lags: list[int] = []
        self.errors: list[Exception] = []
        self.loop = EventLoop(self.lags.append, self.errors.append)


@pytest.fixture
def recorded() -> Iterator[LoopRecorder]:
    one = LoopRecorder()
    yield one
    one.loop.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 20), max_size=30))
def test_timers_fire_in_order_and_never_early(delays: list[int]) -> None:
    one = LoopRecorder()
    with contextlib.closing(one.loop):
        fired: list[tuple[int, int]] = []
        start = time.monotonic_ns()

        def fire(due_ns: int) -> None:
            fired.append((due_ns, time.monotonic_ns()))

        due_times_ns = [start + delay * 100_000 for delay in delays]
        for due_ns in due_times_ns:
            one.loop.call_at(due_ns, lambda due_ns=due_ns: fire(due_ns))  # type: ignore[misc]
        assert one.loop.run_for(PATIENCE_S, lambda: len(fired) == len(due_times_ns))
        assert [due_ns for due_ns, _ in fired] == sorted(due_times_ns)
        assert all(when >= due_ns for due_ns, when in fired)


def test_timer_set_between_iterations_is_armed_at_once(recorded: LoopRecorder) -> None:
    recorded.loop.run_once()
    due_ns = time.monotonic_ns() + 1_000_000
    recorded.loop.call_at(due_ns, lambda: None)
    recorded.loop.call_at(due_ns + 500_000, lambda: None)
    assert recorded.loop._timer_due_ns == due_ns


def test_loop_descriptor_is_readable_when_a_timer_is_due(recorded: LoopRecorder) -> None:
    # As under gevent's loop, which waits for the descriptor
    fired: list[int] = []
    recorded.loop.call_later(0.005, lambda: fired.append(1))
    recorded.loop.run_once()
    deadline = time.monotonic() + PATIENCE_S
    with select.epoll() as outer:
        outer.register(recorded.loop.fileno(), select.EPOLLIN)
        while not fired:
            assert time.monotonic() < deadline
            assert outer.poll(PATIENCE_S)
            recorded.loop.run_once()


def test_handler_that_raises_does_not_stop_the_others(
    recorded: LoopRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = socket.socketpair()
    with one, other:
        fired: list[str] = []

        def fail(*_: object) -> None:
            raise ValueError("on purpose")

        recorded.loop.watch(one.fileno(), EPOLLOUT, fail)
        recorded.loop.watch(other.fileno(), EPOLLOUT, lambda _: fired.append("socket"))
        recorded.loop.call_later(0, fail)
        recorded.loop.call_later(0, lambda: fired.append("timer"))
        assert recorded.loop.run_for(PATIENCE_S, lambda: {"socket", "timer"} <= set(fired))
        assert [str(error) for error in recorded.errors][:2] == ["on purpose", "on purpose"]
        assert "internal error in the load generator" in caplog.text
        recorded.loop.unwatch(one.fileno())
        recorded.loop.unwatch(other.fileno())


def test_descriptor_unwatched_in_an_iteration_is_not_called_in_it(recorded: LoopRecorder) -> None:
    one, other = socket.socketpair()
    with one, other:
        called: list[int] = []

        def only(mine: socket.socket, theirs: socket.socket) -> None:
            called.append(mine.fileno())
            recorded.loop.unwatch(theirs.fileno())

        recorded.loop.watch(one.fileno(), EPOLLOUT, lambda _: only(one, other))
        recorded.loop.watch(other.fileno(), EPOLLOUT, lambda _: only(other, one))
        recorded.loop.run_once()
        assert len(called) == 1
        recorded.loop.unwatch(called[0])
        recorded.loop.unwatch(called[0])
        assert not recorded.loop.handlers


def test_blocked_loop_reports_its_lag(recorded: LoopRecorder) -> None:
    recorded.loop.run_for(PATIENCE_S, lambda: bool(recorded.lags))
    del recorded.lags[:]
    time.sleep(0.1)
    recorded.loop.run_for(PATIENCE_S, lambda: bool(recorded.lags))
    assert recorded.lags[0] >= 100_000_000 - LAG_PROBE_PERIOD_NS
    assert min(recorded.lags) >= 0


def test_previous_poll_time_moves_only_after_a_full_read(recorded: LoopRecorder) -> None:
    recorded.loop.run_once()
    recorded.loop.run_once()
    before = recorded.loop.previous_poll_ns
    # Given an iteration that left something unread
    recorded.loop.has_backlog = True
    recorded.loop.run_once()
    assert recorded.loop.previous_poll_ns == before
    # Then it moves on after the next one, which has read it
    recorded.loop.run_once()
    assert recorded.loop.previous_poll_ns > before
    assert recorded.loop.previous_poll_ns <= time.time_ns()


def _note(called: set[int], fd: int, _: int) -> None:
    called.add(fd)


def test_previous_poll_time_stays_while_descriptors_are_left_unserved(recorded: LoopRecorder) -> None:
    pairs = [socket.socketpair() for _ in range(300)]
    ends = [end for pair in pairs for end in pair]
    called: set[int] = set()
    try:
        for end in ends:
            recorded.loop.watch(end.fileno(), EPOLLIN | EPOLLOUT, partial(_note, called, end.fileno()))
        recorded.loop.run_once()
        before = recorded.loop.previous_poll_ns
        assert recorded.loop.has_backlog
        recorded.loop.run_once()
        assert recorded.loop.previous_poll_ns == before
        assert len(called) == len(ends)
    finally:
        for end in ends:
            recorded.loop.unwatch(end.fileno())
            end.close()


def test_timerfd_fires_once_at_its_due_time() -> None:
    timer = TimerFd()
    try:
        with select.epoll() as epoll:
            epoll.register(timer.fd, select.EPOLLIN)
            assert not epoll.poll(0)
            due_ns = time.monotonic_ns() + 3_000_000
            timer.arm(due_ns)
            assert epoll.poll(PATIENCE_S)
            assert time.monotonic_ns() >= due_ns
            timer.clear()
            assert not epoll.poll(0)
            timer.clear()
            timer.arm(0)
            assert epoll.poll(PATIENCE_S)
    finally:
        timer.close()
