"""The outbox: whenever the peer reads, bytes arrive in order, once; an offer is accepted whole or not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.net.outbox import (
    A_FEW,
    COALESCE_BYTES,
    SENDING_SLICE_S,
    SENDS_AT_ONCE,
    SENDS_IN_TURN,
    FanOut,
    Outbox,
)
from support.fakes.fake_transport import LoopPlayer

OUTBOX_BYTES = 100

sizes = st.integers(0, 70)
steps = st.one_of(
    st.tuples(st.just("offer"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("offer"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("fan_out"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("fan_out_late"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("put"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("put"), st.integers(60, 90)),
    st.tuples(st.just("put"), st.integers(60, 90)),
    st.just(("cork",)),
    st.just(("uncork",)),
    st.tuples(st.just("takes"), st.integers(0, 200)),
    st.tuples(st.just("takes"), st.integers(0, 200)),
    st.just(("seal",)),
    st.just(("gone",)),
)


class Watcher:
    """A write watcher: fires when the peer reads."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def start(self, callback: Callable[[], None]) -> None:
        self.peer.watching = callback

    def stop(self) -> None:
        self.peer.watching = None

    def close(self) -> None:
        """Do nothing."""


class Peer:
    """A transport with space for so many bytes, its context with loop and clock, and its connection."""

    def __init__(self) -> None:
        self.room = 0
        self.gone = False
        self.received = b""
        self.sent: list[int] = []  # bytes of each call
        self.watching: Callable[[], None] | None = None
        self.later: list[Callable[[], None]] = []
        self.drains = 0
        self.stalls = 0
        self.bug: Exception | None = None  # raised by `send`
        self.failures: list[Exception] = []
        self.loop = self.clock = self
        self.outbox_bytes = OUTBOX_BYTES
        self.outbox = Outbox(self, self, self)  # type: ignore[arg-type]

    def send(self, data: bytes | memoryview) -> int:
        if self.bug is not None:
            raise self.bug
        if self.gone:
            raise ConnectionResetError
        if not self.room:
            raise BlockingIOError
        taken = bytes(data)[: self.room]
        self.room -= len(taken)
        self.sent.append(len(taken))
        self.received += taken
        return len(taken)

    def takes(self, size: int) -> None:
        """Let the peer read so many bytes; the loop calls the watcher."""
        self.room += size
        while self.room and self.watching is not None:
            self.watching()

    def fileno(self) -> int:
        return 0

    def io(self, *_: Any) -> Watcher:
        return Watcher(self)

    def monotonic(self) -> float:
        return 0.0

    time = monotonic

    def run_callback(self, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def on_drained(self) -> None:
        self.drains += 1

    def on_overflow(self) -> None:
        self.stalls += 1

    def on_send_failed(self, error: Exception) -> None:
        self.failures.append(error)


class Play:
    """Runs steps, and checks invariants after each."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.outbox = self.peer.outbox
        self.fan = FanOut(LoopPlayer(), self.peer)
        self.taken = b""  # bytes that the outbox has accepted
        self.count = 0

    def piece(self, size: int) -> bytes:
        self.count += 1
        return bytes([self.count % 251]) * size

    def step(self, word: str, *args: int) -> None:
        getattr(self, word)(*args)
        assert self.taken.startswith(self.peer.received)
        if not self.outbox.closed:
            corked = self.outbox._corked
            assert len(self.taken) - len(self.peer.received) == self.outbox.queued_bytes
            assert (self.outbox.queued_bytes > 0) <= (self.outbox.queue is not None)
            assert corked or not self.outbox.queued_bytes or self.peer.watching is not None

    def offer(self, size: int) -> None:
        self.offered(size, self.outbox.offer)

    def fan_out(self, size: int) -> None:
        self.offered(size, lambda piece: not self.fan.offer([self.outbox], piece))

    def fan_out_late(self, size: int) -> None:
        self.fan._left = 0
        self.fan._round = self.fan._loop.polls.iteration
        many = dict.fromkeys([self.outbox, *(Peer().outbox for _ in range(A_FEW))])
        self.offered(size, lambda piece: not self.fan.offer(many, piece))

    def offered(self, size: int, offer: Callable[[bytes], bool]) -> None:
        piece, shut, waited = self.piece(size), self.outbox.closed, self.outbox.queued_bytes
        if offer(piece):
            self.taken += b"" if shut else piece
            assert self.outbox.queued_bytes <= max(OUTBOX_BYTES, size) or shut or waited > OUTBOX_BYTES
        else:
            assert self.outbox.queued_bytes + size > OUTBOX_BYTES

    def put(self, size: int) -> None:
        piece, shut = self.piece(size), self.outbox.closed
        self.outbox.put(piece)
        self.taken += b"" if shut else piece
        if self.outbox.queued_bytes > 2 * OUTBOX_BYTES:
            assert self.outbox.closed  # over twice the bound: the connection ends

    def cork(self) -> None:
        self.outbox.cork()

    def uncork(self) -> None:
        self.outbox.uncork()

    def takes(self, size: int) -> None:
        self.peer.takes(size)

    def seal(self) -> None:
        self.outbox.close_input()

    def gone(self) -> None:
        self.peer.gone = True


@given(play=st.lists(steps, max_size=60))
def test_outbox_in_any_play_sends_bytes_in_order_once(play: list[tuple[Any, ...]]) -> None:
    stage = Play()
    for step in play:
        stage.step(*step)
    peer, outbox = stage.peer, stage.outbox
    outbox.uncork()
    peer.takes(100_000)
    if not peer.gone:
        assert peer.received == stage.taken
        assert outbox.queued_bytes == 0
        assert peer.watching is None
    assert len(peer.later) <= 1


def test_outbox_joins_small_chunks_and_sends_long_one_alone() -> None:
    peer = Peer()
    peer.outbox.cork()
    for size in (10, 20, COALESCE_BYTES, 5):
        peer.outbox.queue.append(b"x" * size)  # type: ignore[union-attr]
        peer.outbox.queued_bytes += size
    peer.room = 10 * COALESCE_BYTES
    peer.outbox.uncork()
    assert peer.sent == [COALESCE_BYTES + 30, 5]
    assert peer.outbox.queue is None
    assert peer.drains == 1


@pytest.mark.parametrize("queued", [False, True], ids=["live", "queued"])
def test_bug_of_one_recipient_stops_no_other(queued: bool) -> None:
    # Given three peers, of which the second one's transport has a bug
    peers = [Peer() for _ in range(3)]
    for peer in peers:
        peer.room = 100
    broken = peers[1]
    if queued:
        broken.room = 0
        broken.outbox.put(b"before")
    broken.bug = ValueError("not a system call")
    # When a chunk is fanned out
    refused = FanOut(LoopPlayer(), broken).offer([peer.outbox for peer in peers], b"chunk")
    if queued:
        broken.takes(10)  # the watcher fires
    # Then the others have it, and the broken one is reported and ended, later
    assert not refused
    assert [peer.received for peer in peers] == [b"chunk", b"", b"chunk"]
    assert broken.outbox.closed
    assert not broken.failures
    for callback in broken.later:
        callback()
    assert broken.failures == [broken.bug]


def test_put_never_raises() -> None:
    peer = Peer()
    peer.bug = ValueError("not a system call")
    peer.outbox.put(b"answer")
    assert peer.outbox.closed
    assert len(peer.later) == 1


class Crowd:
    """More peers than are sent to at once."""

    def __init__(self, count: int) -> None:
        self.peers = [Peer() for _ in range(count)]
        for peer in self.peers:
            peer.room = 1000
        self.loop = LoopPlayer()
        self.fan = FanOut(self.loop, self.peers[0])

    def looks_take(self, seconds: float) -> None:
        """Let the clock advance by `seconds` with each look at it: one in each turn of a fan-out."""
        now = itertools.count()
        self.peers[0].monotonic = lambda: next(now) * seconds  # type: ignore[method-assign]
        self.fan = FanOut(self.loop, self.peers[0])

    def offer(self, chunk: bytes) -> None:
        assert not self.fan.offer(dict.fromkeys(peer.outbox for peer in self.peers), chunk)

    def having(self, data: bytes) -> int:
        """Return how many have received exactly `data`."""
        return sum(peer.received == data for peer in self.peers)


def test_many_get_their_bytes_in_later_rounds_in_order() -> None:
    # Given a room that takes some rounds, and an answer to its last member, which comes after the message
    crowd = Crowd(SENDS_AT_ONCE + 9 * SENDS_IN_TURN)
    crowd.looks_take(SENDING_SLICE_S / 3)  # four turns are more than a slice
    last = crowd.peers[-1]
    done: list[int] = []
    crowd.offer(b"message ")
    crowd.fan.when_sent(lambda: done.append(crowd.having(b"message ")))
    last.outbox.put(b"answer")
    assert crowd.having(b"message ") == SENDS_AT_ONCE
    assert last.outbox.queued_bytes == len(b"message answer")
    # When the rounds go by
    for turns in (4, 8):
        crowd.loop.run_timers()
        assert (crowd.having(b"message "), done) == (SENDS_AT_ONCE + turns * SENDS_IN_TURN, [])
    crowd.loop.run_timers()
    # Then everybody has it once, in order, and nothing is left
    assert done == [len(crowd.peers) - 1]
    assert last.received == b"message answer"
    assert last.sent == [len(b"message answer")]  # in one send
    assert not crowd.loop.timers
    assert not crowd.fan._waiting
    assert all(peer.outbox.queue is None for peer in crowd.peers)


def test_fan_outs_that_wait_have_turns() -> None:
    # Given a message to thousands, and one to a room that is not small, in the same round
    crowd, room = Crowd(3 * SENDS_AT_ONCE), Crowd(A_FEW + 1)
    crowd.looks_take(SENDING_SLICE_S / 3)
    crowd.offer(b"to thousands")
    crowd.fan.offer(dict.fromkeys(peer.outbox for peer in room.peers), b"to some")
    assert room.having(b"to some") == 0
    # Then the room has it in the next round
    crowd.loop.run_timers()
    assert room.having(b"to some") == A_FEW + 1
    assert crowd.having(b"to thousands") < 2 * SENDS_AT_ONCE


def test_fan_out_goes_on_after_a_callback_that_raises() -> None:
    crowd, others = Crowd(SENDS_AT_ONCE + 1), Crowd(2 * SENDS_AT_ONCE)
    crowd.looks_take(SENDING_SLICE_S)
    crowd.offer(b"one")
    crowd.fan.when_sent(lambda: 1 // 0)  # type: ignore[arg-type]
    crowd.fan.offer(dict.fromkeys(peer.outbox for peer in others.peers), b"two")
    with pytest.raises(ZeroDivisionError):
        crowd.loop.run_timers()
    while crowd.loop.timers:
        crowd.loop.run_timers()
    assert others.having(b"two") == 2 * SENDS_AT_ONCE


def test_messages_that_follow_while_many_wait_go_in_one_send() -> None:
    crowd = Crowd(3 * SENDS_AT_ONCE)
    for chunk in (b"1", b"2", b"3"):
        crowd.offer(chunk)
    while crowd.loop.timers:
        crowd.loop.run_timers()
    assert crowd.having(b"123") == 3 * SENDS_AT_ONCE
    assert crowd.peers[-1].sent == [3]


def test_a_few_never_wait_for_many() -> None:
    crowd = Crowd(2 * SENDS_AT_ONCE)
    crowd.offer(b"to many")
    few = Crowd(A_FEW)
    crowd.fan.offer(dict.fromkeys(peer.outbox for peer in few.peers), b"to few")
    assert few.having(b"to few") == A_FEW


def test_peers_that_leave_while_they_wait_are_passed_over() -> None:
    crowd = Crowd(SENDS_AT_ONCE + 3)
    crowd.offer(b"message")
    gone, closed, stays = crowd.peers[-3:]
    gone.gone = True
    closed.outbox.close()
    crowd.loop.run_timers()
    assert stays.received == b"message"
    assert gone.outbox.closed
    assert (closed.received, closed.outbox.queued_bytes) == (b"", 0)


def test_slow_peers_among_many_wait_for_their_watcher() -> None:
    crowd = Crowd(SENDS_AT_ONCE + 1)
    slow = crowd.peers[-1]
    slow.room = 3
    crowd.offer(b"message")
    crowd.loop.run_timers()
    assert slow.received == b"mes"
    slow.takes(100)
    assert slow.received == b"message"
    assert slow.outbox.queue is None
