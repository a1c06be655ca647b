"""The fan-out, in any play: each peer gets what it has accepted, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server.net import fan_out
from chat_server.net.fan_out import A_FEW
from support.fakes.crowd import Crowd
from support.fakes.slow_peer import SlowPeer

steps = st.one_of(
    st.tuples(st.just("room"), st.integers(1, 40)),
    st.tuples(st.just("room"), st.integers(1, 40)),
    st.tuples(st.just("half"), st.integers(1, 40)),
    st.tuples(st.just("private"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("put"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("cork"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("uncork"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("takes"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("round"), st.integers(1, 30)),
    st.tuples(st.just("gone"), st.integers(0, A_FEW + 8)),
    st.tuples(st.just("bye"), st.integers(0, A_FEW + 8)),
)


@given(play=st.lists(steps, max_size=50), at_once=st.integers(1, 4), slow=st.integers(0, 4))
def test_in_any_play_each_peer_gets_what_it_accepted_in_order(
    play: list[tuple[str, int]], at_once: int, slow: int
) -> None:
    crowd = Crowd(A_FEW + 9)
    accepted: dict[SlowPeer, bytes] = dict.fromkeys(crowd.peers, b"")
    for peer in crowd.peers[:slow]:
        peer.room = 30

    def offer(peers: list[SlowPeer], chunk: bytes) -> None:
        is_open = [peer for peer in peers if not peer.outbox.closed]
        refused = crowd.fan.offer(dict.fromkeys(peer.outbox for peer in peers), chunk)
        for peer in is_open:
            if peer.outbox not in refused:
                accepted[peer] += chunk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fan_out, "SENDS_AT_ONCE", at_once)
        patch.setattr(fan_out, "SEND_BYTES_SHIFT", 3)
        for number, (word, value) in enumerate(play):
            chunk = bytes([number]) * value
            peer = crowd.peers[value % len(crowd.peers)]
            if word == "room":
                offer(crowd.peers, chunk)
            elif word == "half":
                offer(crowd.peers[4:], chunk)
            elif word == "private":
                offer([peer], bytes([number]))
            elif word == "put" and not peer.outbox.closed:
                peer.outbox.put(bytes([number]))
                accepted[peer] += bytes([number])
            elif word == "bye" and not peer.outbox.closed:
                peer.outbox.put(b"bye")
                accepted[peer] += b"bye"
                peer.outbox.close_input()
            elif word == "cork":
                peer.outbox.cork()
            elif word == "uncork":
                peer.outbox.uncork()
            elif word == "takes":
                peer.takes(value * 10)
            elif word == "gone":
                peer.gone = True
            else:
                for _ in range(value):
                    if crowd.loop.timers:
                        sends = crowd.sends
                        crowd.next_round()
                        assert crowd.sends - sends <= at_once
            for each in crowd.peers:
                assert accepted[each].startswith(each.received)
        rounds = 0
        queued = len(crowd.fan._waiting)
        while any(peer.outbox.deferred for peer in crowd.peers):
            crowd.next_round()
            rounds += 1
    assert rounds <= queued
    crowd.settle()
    for peer in crowd.peers:
        peer.outbox.uncork()
        peer.takes(100_000)
        if not peer.gone:
            assert peer.received == accepted[peer]
            assert peer.outbox.queued_bytes == 0
