"""Connections that send more than they may, or more than others: they are left unread, or read in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gevent
import pytest

from chat_protocol.errors import ByeReason
from chat_server.core.base.limits import Limits
from chat_server.net.event_loop import GeventLoop, LoopEvent
from chat_server.net.linger import LINGER_PAUSE_S, LINGER_READ_BYTES
from chat_server.net.turns import BULK_BYTES, BULK_READ_BYTES, FIRST_READ_BYTES, SLICE_PAUSE_S, Turns

if TYPE_CHECKING:
    from chat_server.net.conftest import Play

PING = b'{"type":"ping","id":"1"}\n'


class Taker:
    """A connection that takes turns."""

    def __init__(self) -> None:
        self.turn: LoopEvent | None = None


def is_over(play: Play) -> bool:
    """Whether the connection is released."""
    return play.loop.ended and "close" in play.peer.calls and not play.connections.registered


def flood(play: Play, line: bytes) -> None:
    """Send so many bytes that the peer is not read for a while."""
    play.hub.limits = Limits(rate_messages=0, rate_bytes=1000, rate_bytes_burst=2000)
    play.send(line * (3000 // len(line)))


@pytest.mark.parametrize(
    ("hello", "line"),
    [
        (b'{"type":"hello","username":"ann"}\n', b'{"type":"pong","id":"x"}\n'),
        (b'{"type":"hello","username":"ann"}\n', b"\n"),
        (b'{"type":"hello","username":"ann"}\n', b"x"),
        (b'{"username":"ann","message":"hi"}', b" "),
        (b"hello there\n", b"\r\n"),
        (b'{"type":"pong","id":"x"}\n', b'{"type":"pong","id":"x"}\n'),  # without a name
        (b"", b"x"),  # without a dialect
        (b"", b" "),
    ],
)
def test_bytes_over_the_rate_are_left_unread_in_every_dialect(play: Play, hello: bytes, line: bytes) -> None:
    if hello:
        play.send(hello)
        play.settle(lambda: play.loop.waits_for == "input")
    flood(play, line)
    assert play.loop.waits_for == "event"
    assert play.is_paused()
    assert play.hub.stats.throttled == 1
    play.peer.input.append(line)
    # It is read again when it is out of debt, and not before
    play.clock.now += 0.5
    play.loop.end_timed_block()
    assert play.loop.waits_for == "event"
    play.clock.now += 120.0
    play.loop.end_timed_block()
    assert play.loop.waits_for == "input"
    assert not play.is_paused()
    assert play.peer.input
    play.loop.go_on()
    assert not play.peer.input


def test_peer_that_is_not_read_is_not_found_silent(play: Play) -> None:
    play.hello()
    session = play.connection.session
    play.clock.now += 31
    play.hub.heartbeat.tick()
    assert session.missed_pings == 1
    flood(play, b"\n")
    for _ in range(5):
        play.clock.now += 31
        play.hub.heartbeat.tick()
    play.loop.end_timed_block()
    assert session.missed_pings == 0
    assert play.types == ["welcome", "ping"]


def test_bye_wakes_a_reader_that_leaves_its_peer_unread(play: Play) -> None:
    play.hello()
    flood(play, b"\n")
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.go_on()
    assert play.types == ["welcome", "bye"]
    play.send(b"")
    assert is_over(play)


def test_lost_peer_wakes_a_reader_that_leaves_it_unread(play: Play) -> None:
    play.hello()
    flood(play, b"\n")
    play.peer.gone = True
    play.connection.outbox.put(b"x")
    play.loop.go_on()
    assert play.loop.waits_for == "input"
    play.send(ConnectionResetError)
    assert is_over(play)


def test_what_follows_a_bye_is_read_slowly(play: Play) -> None:
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    play.send(b"x" * LINGER_READ_BYTES)
    assert (play.loop.waits_for, play.loop.waiting) == ("sleep", LINGER_PAUSE_S)
    play.loop.go_on()
    play.send(b"x", b"")
    assert is_over(play)


def test_reads_after_a_long_one_are_in_turn(play: Play) -> None:
    play.hello()
    turns = play.context.turns
    play.send(b"\n" * BULK_READ_BYTES)
    turns.wait(Taker(), BULK_BYTES + 1)  # others have used up the time until the loop polls
    play.peer.input.append(b"\n" * 100)
    play.loop.go_on()
    assert (play.loop.waits_for, play.loop.waiting) == ("sleep", SLICE_PAUSE_S)
    assert play.peer.input
    play.loop.go_on()
    assert not play.peer.input
    turns.wait(Taker(), BULK_BYTES + 1)
    play.send(PING)  # after a short one it is like all others
    assert play.types[-1] == "pong"


def test_those_that_send_much_are_served_one_a_poll() -> None:
    # Given a hundred connections that always have more, and one that sends little
    loop = GeventLoop()
    turns = Turns(loop)
    served: list[str] = []
    ended = False

    def heavy(name: str) -> None:
        while not ended:
            turns.wait(Taker(), BULK_BYTES + 1)
            served.append(name)

    def light() -> None:
        for _ in range(20):
            gevent.sleep(SLICE_PAUSE_S)
            served.append("light")

    greenlets = [gevent.spawn(heavy, str(number)) for number in range(100)]
    gevent.spawn(light).join()
    # Then between two turns of the light one there are a few of the others, not a hundred
    gaps = "".join("l" if name == "light" else "h" for name in served).split("l")[1:-1]
    assert max(map(len, gaps)) <= 5, gaps
    # And each of the others has its turn
    while len(set(served)) < 101:
        gevent.sleep(0.001)
    ended = True
    gevent.joinall(greenlets, raise_error=True)


def test_end_of_a_connection_takes_it_out_of_the_queue() -> None:
    loop = GeventLoop()
    turns = Turns(loop)
    takers = [Taker() for _ in range(3)]
    order: list[int] = []

    def take(number: int) -> None:
        turns.pause(takers[number])
        order.append(number)

    greenlets = [gevent.spawn(take, number) for number in range(3)]
    gevent.sleep(0)
    assert [taker.turn is None for taker in takers] == [True, False, False]
    assert takers[1].turn is not None
    takers[1].turn.set()
    gevent.joinall(greenlets, raise_error=True, timeout=30)
    assert sorted(order) == [0, 1, 2]
    # And the queue goes on
    gevent.spawn(turns.pause, takers[0]).join(timeout=30)
    assert all(taker.turn is None for taker in takers)


def test_first_long_read_waits_for_its_turn(play: Play) -> None:
    # Given others that have used up the time until the loop polls
    play.hello()
    play.context.turns.wait(Taker(), BULK_BYTES + 1)
    # When a connection gets much for the first time, then it waits before it handles that
    play.send(PING * (BULK_READ_BYTES // len(PING) + 1))
    assert (play.loop.waits_for, play.loop.waiting) == ("sleep", SLICE_PAUSE_S)
    assert play.types == ["welcome"]
    play.loop.go_on()
    assert play.types[1:] == ["pong"] * (BULK_READ_BYTES // len(PING) + 1)


def test_server_that_stops_drops_a_long_read_that_waits_for_its_turn(play: Play) -> None:
    play.hello()
    play.context.turns.wait(Taker(), BULK_BYTES + 1)
    play.send(PING * (BULK_READ_BYTES // len(PING) + 1))
    play.context.stop_reading(5.0)
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.go_on()
    assert play.types == ["welcome", "bye"]


def test_first_read_of_a_connection_is_short(play: Play) -> None:
    play.peer.input.append(b"\n" * (3 * FIRST_READ_BYTES))
    play.loop.go_on()
    assert play.connection.bytes_in == FIRST_READ_BYTES
    play.loop.go_on()
    assert play.connection.bytes_in == 3 * FIRST_READ_BYTES
