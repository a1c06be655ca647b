"""The outbox: whenever the peer reads, bytes arrive in order, once; an offer is accepted whole or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.net.fan_out import A_FEW, FanOut
from chat_server.net.outbox import COALESCE_BYTES
from support.fakes.fake_transport import LoopPlayer
from support.fakes.slow_peer import OUTBOX_BYTES, SlowPeer

if TYPE_CHECKING:
    from collections.abc import Callable

sizes = st.integers(0, 70)
steps = st.one_of(
    st.tuples(st.just("offer"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("offer"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("fan_out"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("fan_out_late"), sizes.map(lambda size: size + 1)),
    st.tuples(st.just("fan_out_late"), sizes.map(lambda size: size + 1)),
    st.just(("next_round",)),
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


class Play:
    """Runs steps, and checks invariants after each."""

    def __init__(self) -> None:
        self.peer = SlowPeer()
        self.outbox = self.peer.outbox
        self.loop = LoopPlayer()
        self.fan = FanOut(self.loop, OUTBOX_BYTES)
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
            assert (self.peer.watching is None) or not (corked or self.outbox.deferred)
            assert not (corked and self.outbox.deferred)
            watched = self.peer.watching is not None
            assert corked or self.outbox.deferred or not self.outbox.queued_bytes or watched
        assert not self.outbox.deferred or (self.loop.timers and not self.outbox.closed)

    def offer(self, size: int) -> None:
        self.offered(size, self.outbox.offer)

    def fan_out(self, size: int) -> None:
        self.offered(size, lambda piece: not self.fan.offer([self.outbox], piece))

    def fan_out_late(self, size: int) -> None:
        self.fan._left, self.fan._round = 0, self.loop.iteration
        many = dict.fromkeys([self.outbox, *(SlowPeer(size).outbox for _ in range(A_FEW))])
        self.offered(size, lambda piece: not self.fan.offer(many, piece))

    def next_round(self) -> None:
        self.loop.run_timers()
        self.loop.run_callbacks()

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
    stage.next_round()
    peer.takes(100_000)
    if not peer.gone:
        assert peer.received == stage.taken
        assert outbox.queued_bytes == 0
        assert peer.watching is None
    assert len(peer.later) <= 1


def test_outbox_joins_small_chunks_and_sends_long_one_alone() -> None:
    peer = SlowPeer()
    peer.outbox.cork()
    for size in (10, 20, COALESCE_BYTES, 5):
        peer.outbox.queue.append(b"x" * size)
        peer.outbox.queued_bytes += size
    peer.room = 10 * COALESCE_BYTES
    peer.outbox.uncork()
    assert peer.sent == [COALESCE_BYTES + 30, 5]
    assert peer.outbox.queue is None
    assert peer.drains == 1


@pytest.mark.parametrize("queued", [False, True], ids=["live", "queued"])
def test_bug_of_one_recipient_stops_no_other(queued: bool) -> None:
    # Given three peers, of which the second one's transport has a bug
    peers = [SlowPeer() for _ in range(3)]
    for peer in peers:
        peer.room = 100
    broken = peers[1]
    if queued:
        broken.room = 0
        broken.outbox.put(b"before")
    broken.bug = ValueError("not a system call")
    # When a chunk is fanned out
    refused = FanOut(LoopPlayer(), OUTBOX_BYTES).offer([peer.outbox for peer in peers], b"chunk")
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
    peer = SlowPeer()
    peer.bug = ValueError("not a system call")
    peer.outbox.put(b"answer")
    assert peer.outbox.closed
    assert len(peer.later) == 1


def test_peer_is_not_taken_for_stuck_while_its_answers_are_corked() -> None:
    peer = SlowPeer()
    peer.room = 1000
    peer.monotonic = lambda: 500.0  # type: ignore[method-assign]
    peer.outbox.cork()
    peer.outbox.put(b"answer")
    assert peer.outbox.queued_bytes
    assert peer.outbox.progress_at == 500.0
    peer.outbox.uncork()
    assert peer.received == b"answer"
