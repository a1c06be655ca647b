"""Turns: a round of the loop has one time slice for commands, and addresses are served in turn after it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import gevent

from chat_protocol.errors import ByeReason
from chat_server.net.event_loop import GeventLoop, LoopTurn
from chat_server.net.turns import SLICE_PAUSE_S, TIME_SLICE_S, Turns

if TYPE_CHECKING:
    from chat_server.net.conftest import Play

PING = b'{"type":"ping","id":"1"}\n'
WORK_S = TIME_SLICE_S / 2  # of a command: two begin in a slice, and the third is over


class Clock:
    """Shows the time that commands have taken."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


class Taker:
    """A connection that always has a command; `name` is noted for each that is served."""

    def __init__(self, turns: Turns, clock: Clock, served: list[str], key: str, name: str = "") -> None:
        self.turn: LoopTurn | None = None
        self.address_key = key
        self.running = True
        self._turns = turns
        self._clock = clock
        self._served = served
        self._name = name

    def run(self) -> None:
        while self.running:
            if self._turns.is_over():
                self._turns.wait(self)
            self._clock.now += WORK_S
            self._served.append(self._name)
            gevent.sleep(0)

    def end(self) -> None:
        self.running = False
        if self.turn is not None:
            self.turn.set()


def test_an_address_waits_for_one_time_slice_however_many_connections_another_has() -> None:
    # Given two hundred connections of one address that always have something, and one of another
    clock, served = Clock(), list[str]()
    turns = Turns(GeventLoop(), clock)
    takers = [Taker(turns, clock, served, "many", "m") for _ in range(200)]
    takers.append(Taker(turns, clock, served, "one", "o"))
    greenlets = [gevent.spawn(taker.run) for taker in takers]
    while served.count("o") < 50:
        gevent.sleep(SLICE_PAUSE_S)
    for taker in takers:
        taker.end()
    gevent.joinall(greenlets, raise_error=True, timeout=30)
    # Then between two of its commands there are a few of the others, not two hundred
    gaps = [len(gap) for gap in "".join(served).split("o")[1:50]]
    assert max(gaps) <= 8, gaps
    assert not turns._waiting


def test_connections_of_one_address_are_served_in_order() -> None:
    clock, served = Clock(), list[str]()
    turns = Turns(GeventLoop(), clock)
    takers = [Taker(turns, clock, served, "same", str(number)) for number in range(30)]
    greenlets = [gevent.spawn(taker.run) for taker in takers]
    while len(served) < 300:
        gevent.sleep(SLICE_PAUSE_S)
    for taker in takers:
        taker.end()
    gevent.joinall(greenlets, raise_error=True, timeout=30)
    counts = Counter(served[:300]).values()
    assert len(counts) == 30
    assert max(counts) - min(counts) <= 3


def test_end_of_a_connection_takes_it_out_of_the_queue() -> None:
    clock, served = Clock(), list[str]()
    turns = Turns(GeventLoop(), clock)
    takers = [Taker(turns, clock, served, key) for key in ("a", "a", "b")]
    turns._scheduled = True  # nobody is served
    greenlets = [gevent.spawn(turns.wait, taker) for taker in takers]
    gevent.sleep(0)
    for taker, left in ((takers[1], {"a": 1, "b": 1}), (takers[2], {"a": 1}), (takers[0], {})):
        taker.end()
        gevent.sleep(0)
        assert {key: len(queue) for key, queue in turns._waiting.items()} == left
        assert taker.turn is None
    gevent.joinall(greenlets, raise_error=True, timeout=30)


def use_up_slice(play: Play) -> None:
    """Let other connections have used up the time slice of a round that goes on."""
    play.context.turns.round = play.loop.iteration
    play.context.turns.slice_ends_at = play.clock.now - 1
    play.loop.keeps_round = True


def test_a_read_after_the_slice_waits_for_its_turn(play: Play) -> None:
    play.hello()
    use_up_slice(play)
    play.peer.input.append(PING)
    play.loop.go_on()
    assert (play.loop.waits_for, [seconds for seconds, _ in play.loop.timers]) == ("turn", [SLICE_PAUSE_S])
    assert play.peer.input  # it is not even read
    play.loop.run_timers()
    assert play.types == ["welcome", "pong"]
    assert not play.loop.timers


def test_commands_of_one_read_have_turns_between_them(play: Play) -> None:
    play.hello()
    play.clock.step = TIME_SLICE_S  # for each look
    play.send(PING * 4)
    waits = 0
    while play.loop.waits_for == "turn":
        waits += 1
        play.loop.run_timers()
    play.clock.step = 0.0
    assert waits >= 2
    assert play.types[1:] == ["pong"] * 4


def test_server_that_stops_ends_a_connection_that_waits_for_its_turn(play: Play) -> None:
    play.hello()
    use_up_slice(play)
    play.send(PING)
    play.context.stop_reading(5.0)
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    assert play.types == ["welcome", "bye"]
    assert not play.context.turns._waiting
    play.loop.run_timers()
