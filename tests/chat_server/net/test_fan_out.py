"""The fan-out: a large room is sent to over several rounds; each peer gets all in order, within one pass."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest

from chat_server.net.event_loop import GeventLoop
from chat_server.net.fan_out import A_FEW, SEND_BYTES_SHIFT, SENDS_AT_ONCE, FanOut
from support.fakes.crowd import Crowd
from support.fakes.slow_peer import OUTBOX_BYTES, SlowPeer

LATE = 7
"""Members of a room that are not sent to at once."""


def test_a_round_sends_to_a_bounded_number_and_the_next_ones_to_the_others() -> None:
    crowd = Crowd(2 * SENDS_AT_ONCE + LATE)
    crowd.offer(b"message")
    for number in (1, 2):
        assert crowd.having(b"message") == number * SENDS_AT_ONCE
        crowd.next_round()
    assert crowd.having(b"message") == len(crowd.peers)
    assert crowd.sends == len(crowd.peers)
    assert not crowd.loop.timers
    assert all(peer.outbox.queue is None for peer in crowd.peers)


def test_sockets_that_are_ready_are_served_between_two_rounds() -> None:
    # Given a message to thousands, on the real loop, and a socket that always has input
    loop, rounds = GeventLoop(), 6
    crowd = Crowd(rounds * SENDS_AT_ONCE, FanOut(loop, OUTBOX_BYTES))
    ours, theirs = socket.socketpair()
    sends: list[int] = []
    with ours, theirs:
        theirs.send(b"x")
        watcher = loop.io(ours.fileno(), 1)
        watcher.start(lambda: sends.append(crowd.sends))
        loop.sleep(0.001)  # from now on the loop polls it
        crowd.offer(b"message")
        while crowd.sends < len(crowd.peers):
            loop.sleep(0.001)
        watcher.stop()
        watcher.close()
    # Then it is served after each part of the message
    assert {number * SENDS_AT_ONCE for number in range(1, rounds)} <= set(sends)


def test_where_nobody_waits_all_is_sent_at_once() -> None:
    crowd = Crowd(5 * SENDS_AT_ONCE + LATE)
    crowd.loop.input_waits = False
    assert not crowd.offer(b"message")
    assert crowd.having(b"message") == crowd.sends == len(crowd.peers)
    assert not crowd.loop.timers
    assert crowd.fan.deferred == 0


def test_pass_goes_on_in_the_same_round_where_nobody_waits() -> None:
    crowd = Crowd(5 * SENDS_AT_ONCE)
    crowd.offer(b"message")
    crowd.loop.input_waits = False
    crowd.loop.run_timers()
    for _ in range(4):
        assert not crowd.loop.timers
        crowd.loop.run_callbacks()
    assert crowd.having(b"message") == crowd.sends == len(crowd.peers)
    assert not crowd.loop.callbacks


def test_long_chunk_is_sent_to_all_where_nobody_waits() -> None:
    crowd = Crowd(SENDS_AT_ONCE)
    crowd.loop.input_waits = False
    chunk = b"x" * (300 << SEND_BYTES_SHIFT)
    for peer in crowd.peers:
        peer.room = len(chunk)
    crowd.offer(chunk)
    assert crowd.having(chunk) == len(crowd.peers)


def test_loop_knows_whether_somebody_has_input() -> None:
    loop = GeventLoop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watcher = loop.io(ours.fileno(), 1)
        watcher.start(lambda: None)
        loop.sleep(0.001)
        assert not loop.has_input()
        theirs.send(b"x")
        assert loop.has_input()
        ours.recv(1)
        assert not loop.has_input()
        watcher.stop()
        watcher.close()


def test_rooms_share_the_sends_of_a_round() -> None:
    crowd = Crowd(SENDS_AT_ONCE - LATE)
    other = crowd.beside(SENDS_AT_ONCE)
    crowd.offer(b"one")
    other.offer(b"two")
    assert crowd.having(b"one") == SENDS_AT_ONCE - LATE
    assert other.having(b"two") == LATE
    crowd.next_round()
    assert other.having(b"two") == SENDS_AT_ONCE
    crowd.offer(b"three")  # in the same round: what is left of it
    assert crowd.having(b"onethree") == LATE


def test_long_chunk_counts_as_several_sends() -> None:
    crowd = Crowd(SENDS_AT_ONCE)
    chunk = b"x" * (3 << SEND_BYTES_SHIFT)
    for peer in crowd.peers:
        peer.room = len(chunk)
    crowd.offer(chunk)
    sent = [crowd.having(chunk)]
    while crowd.loop.timers:
        crowd.next_round()
        sent.append(crowd.having(chunk))
    assert sent[0] == SENDS_AT_ONCE // 4
    assert all(later - before <= SENDS_AT_ONCE // 3 + 1 for before, later in pairwise(sent))
    assert sent[-1] == crowd.sends == SENDS_AT_ONCE


def test_outbox_that_has_been_sent_to_gets_nothing_of_the_one_before() -> None:
    crowd = Crowd(SENDS_AT_ONCE + 3)
    chunk = b"x" * (1 << SEND_BYTES_SHIFT)
    for peer in crowd.peers:
        peer.room = 2 * len(chunk)
    crowd.offer(chunk)
    crowd.peers[-1].outbox.send_deferred()
    crowd.settle()
    assert crowd.having(chunk) == crowd.sends == len(crowd.peers)


def test_messages_that_follow_while_many_wait_go_in_one_send() -> None:
    crowd = Crowd(3 * SENDS_AT_ONCE)
    for chunk in (b"1", b"2", b"3"):
        crowd.offer(chunk)
    assert crowd.sends == SENDS_AT_ONCE  # what follows has no sends of its own: it would overtake
    crowd.settle()
    assert crowd.having(b"123") == 3 * SENDS_AT_ONCE
    assert crowd.peers[-1].sent == [3]


def test_in_a_busy_room_nobody_waits_longer_than_for_one_pass() -> None:
    # Given a room of thousands, in which something is said in every round
    rounds = 12
    crowd = Crowd(rounds * SENDS_AT_ONCE)
    offered = [0]
    waits: dict[SlowPeer, int] = {}
    longest = 0
    for number in range(5 * rounds):
        crowd.offer(bytes([number]))
        offered.append(offered[-1] + 1)
        crowd.next_round()
        for peer in crowd.peers:
            waits[peer] = 0 if not peer.outbox.queued_bytes else waits.get(peer, 0) + 1
            longest = max(longest, waits[peer])
    # Then each is sent to after one pass over all that wait, however much follows
    assert longest <= rounds
    crowd.settle()
    assert crowd.having(bytes(range(5 * rounds))) == len(crowd.peers)


def test_a_few_never_wait_for_many() -> None:
    crowd = Crowd(2 * SENDS_AT_ONCE)
    few = crowd.beside(A_FEW)
    crowd.offer(b"to many")
    few.offer(b"to few")
    assert few.having(b"to few") == A_FEW


def test_answer_or_private_message_takes_along_what_waits() -> None:
    # Given three members of a room that wait for its message
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    crowd.offer(b"message ")
    asks, hears, pastes = crowd.peers[-3:]
    # When they get something else, then that comes behind it, at once and in one send
    asks.outbox.put(b"answer")
    crowd.fan.offer([hears.outbox], b"private")
    pastes.outbox.cork()
    pastes.outbox.put(b"first ")
    pastes.outbox.put(b"second")
    assert pastes.received == b"message "
    pastes.outbox.uncork()
    assert [asks.received, asks.sent] == [b"message answer", [14]]
    assert [hears.received, hears.sent] == [b"message private", [15]]
    assert [pastes.received, pastes.sent] == [b"message first second", [8, 12]]
    # And their turn passes them over
    crowd.settle()
    assert crowd.sends == len(crowd.peers) + 1
    assert crowd.having(b"message ") == len(crowd.peers) - 3


def test_bye_goes_behind_what_waits() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    crowd.offer(b"message ")
    leaves, slow = crowd.peers[-2:]
    slow.room = 3
    for peer in (leaves, slow):
        peer.outbox.put(b"bye")
        peer.outbox.close_input()
    crowd.offer(b"later")
    assert leaves.received == b"message bye"
    assert slow.received == b"mes"
    slow.takes(100)
    crowd.settle()
    assert (leaves.received, slow.received) == (b"message bye", b"message bye")
    assert [peer.outbox.queued_bytes for peer in (leaves, slow)] == [0, 0]


def test_outbox_that_is_closed_without_bye_is_sent_what_waits() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    crowd.offer(b"message")
    crowd.peers[-1].outbox.close_input()
    assert crowd.peers[-1].received == b"message"
    assert crowd.peers[-1].outbox.queued_bytes == 0


def test_peers_that_go_away_while_they_wait_are_passed_over() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    sent: list[int] = []
    crowd.offer(b"message")
    crowd.fan.when_sent(lambda: sent.append(crowd.having(b"message")))
    gone, closed, broken = crowd.peers[-3:]
    gone.gone = True
    closed.outbox.close()
    broken.bug = ValueError("not a system call")
    crowd.settle()
    assert crowd.having(b"message") == len(crowd.peers) - 3
    assert sent == [len(crowd.peers) - 3]
    assert gone.outbox.closed
    assert (closed.received, closed.outbox.queued_bytes) == (b"", 0)
    for callback in broken.later:
        callback()
    assert broken.failures == [broken.bug]


def test_slow_peers_among_many_wait_for_their_watcher() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    slow, stuck = crowd.peers[-2:]
    slow.room, stuck.room = 3, 0
    crowd.offer(b"message")
    crowd.settle()
    assert (slow.received, slow.outbox.queued_bytes) == (b"mes", 4)
    assert (stuck.received, stuck.outbox.queued_bytes) == (b"", 7)
    crowd.offer(b" two")  # now they wait for themselves, not for their turn
    assert not slow.outbox.deferred
    for peer in (slow, stuck):
        peer.takes(100)
        assert peer.received == b"message two"
        assert peer.outbox.queue is None


def test_peer_is_not_taken_for_stuck_while_it_waits_for_its_turn() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    waits = crowd.peers[-1]
    waits.room = 3
    waits.now = 500.0
    crowd.offer(b"message")
    waits.now = 900.0
    assert waits.outbox.queued_bytes
    assert waits.outbox.progress_at == 900.0
    crowd.settle()
    waits.now = 950.0
    assert waits.outbox.progress_at == 900.0  # from now on it is the peer that does not read


def test_what_waits_stays_within_the_bound_of_an_outbox() -> None:
    # Given members that read, and one that does not, in a room where more is said than an outbox holds
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    reads, stuck = crowd.peers[-2:]
    stuck.room = 0
    refused = [crowd.offer(b"x" * 30) for _ in range(OUTBOX_BYTES // 30 + 1)]
    # Then the first has all, as when it had not waited, and the other one lags
    assert reads.outbox.queued_bytes + len(reads.received) == 30 * len(refused)
    assert reads.outbox.queued_bytes <= OUTBOX_BYTES
    assert refused[-1] == [stuck]
    assert not any(refused[:-1])
    assert stuck.outbox.queued_bytes == 30 * (len(refused) - 1)
    assert stuck.watching is not None


def test_callback_waits_for_the_last_of_its_own_fan_out() -> None:
    crowd = Crowd(2 * SENDS_AT_ONCE)
    other = crowd.beside(2 * SENDS_AT_ONCE)
    sent: list[tuple[int, int]] = []
    for room in (crowd, other):
        room.offer(b"message")
        assert len(sent) == 0
        crowd.fan.when_sent(lambda: sent.append((crowd.having(b"message"), other.having(b"message"))))
    # A message that follows puts nothing into the queue: it goes with the one that waits
    crowd.offer(b"!")
    crowd.fan.when_sent(lambda: sent.append((-1, -1)))
    assert sent == []
    crowd.next_round()
    assert sent == [(SENDS_AT_ONCE, 0)]  # they have "message!", or wait for "!"
    crowd.settle()
    assert sent[1:] == [(SENDS_AT_ONCE, 2 * SENDS_AT_ONCE), (-1, -1)]
    # And where nobody waits, at once
    crowd.fan.when_sent(lambda: sent.append((0, 0)))
    assert sent[-1] == (0, 0)


def test_fan_out_goes_on_after_a_callback_that_raises() -> None:
    crowd = Crowd(SENDS_AT_ONCE + LATE)
    other = crowd.beside(2 * SENDS_AT_ONCE)
    crowd.offer(b"one")
    crowd.fan.when_sent(lambda: 1 // 0)  # type: ignore[arg-type]
    sent: list[int] = []
    other.offer(b"two")
    crowd.fan.when_sent(lambda: sent.append(other.having(b"two")))
    with pytest.raises(ZeroDivisionError):
        crowd.next_round()
    crowd.settle()
    assert sent == [2 * SENDS_AT_ONCE]
