"""Turns: a round of the loop has one time slice for commands, and addresses are served in turn after it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import gevent
import pytest
from msgspec import structs

from chat_protocol.errors import ByeReason
from chat_server.net.event_loop import NEXT_ROUND_S, GeventLoop, GreenletSwitch
from chat_server.net.turns import ADDRESS_SHARE_S, TIME_SLICE_S, Turns

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def __init__(
        self,
        loop: GeventLoop,
        turns: Turns,
        clock: Clock,
        served: list[str],
        key: str,
        *,
        limited: bool = False,
    ) -> None:
        self.turn_key = key
        self.share = turns.share_of(key if limited else "")
        self.name = key
        self.running = True
        self._loop = loop
        self._turns = turns
        self._clock = clock
        self._served = served
        self._switch: GreenletSwitch

    def run(self) -> None:
        self._switch = self._loop.new_switch()
        while self.running:
            if self._turns.is_over():
                self._turns.queue(self)
                self._switch.wait()
            self._clock.now += WORK_S
            self._served.append(self.name)
            gevent.sleep(0)

    def take_turn(self) -> None:
        self._switch.resume()


def serve(keys: list[str], until: Callable[[list[str]], bool], names: list[str] | None = None) -> list[str]:
    """Run a connection for each address key; return the names in the order in which they were served."""
    clock, loop, served = Clock(), GeventLoop(), list[str]()
    turns = Turns(loop, clock)
    takers = [Taker(loop, turns, clock, served, key) for key in keys]
    for taker, name in zip(takers, names or keys, strict=True):
        taker.name = name
    greenlets = [gevent.spawn(taker.run) for taker in takers]
    with gevent.Timeout(30):
        while not until(served):
            gevent.sleep(NEXT_ROUND_S)
        for taker in takers:
            taker.running = False
        gevent.joinall(greenlets, raise_error=True)
    assert not turns._waiting
    assert not turns._addresses
    return served


def test_an_address_waits_for_one_time_slice_however_many_connections_another_has() -> None:
    # Given two hundred connections of one address that always have something, and one of another
    served = serve([*["m"] * 200, "o"], lambda served: served.count("o") >= 50)
    # Then between two of its commands there are a few of the others, not two hundred
    gaps = [len(gap) for gap in "".join(served).split("o")[1:50]]
    assert max(gaps) <= 8, gaps


def test_of_a_round_an_address_has_its_share_only() -> None:
    # Given two hundred connections of one address whose turns use up its share, and two of another
    class Short(Taker):
        def take_turn(self) -> None:
            clock.now += ADDRESS_SHARE_S + 1e-9
            served.append(self.name)

    clock, loop, served = Clock(), GeventLoop(), list[str]()
    turns = Turns(loop, clock)
    takers = [Short(loop, turns, clock, served, key, limited=True) for key in [*["m"] * 200, "o", "o"]]
    for taker in takers:
        turns.queue(taker)
    rounds: list[str] = []
    while turns._addresses:
        before = len(served)
        for share in (takers[0].share, takers[-1].share):
            assert share is not None
            share.round = -1  # another round begins
        turns._serve()
        rounds.append("".join(served[before:]))
    # Then nobody waits for more than one of them, though there was time for ten
    assert rounds == ["mo", "mo", *["m"] * 198]


def test_connections_of_one_address_are_served_in_order() -> None:
    served = serve(["same"] * 30, lambda served: len(served) >= 300, names=[str(n) for n in range(30)])
    counts = Counter(served[:300]).values()
    assert len(counts) == 30
    assert max(counts) - min(counts) <= 3


def test_a_turn_that_raises_does_not_end_the_queue() -> None:
    class Rotten(Taker):
        def take_turn(self) -> None:
            raise ZeroDivisionError

    loop, clock, served = GeventLoop(), Clock(), list[str]()
    turns = Turns(loop, clock)
    turns.queue(Rotten(loop, turns, clock, served, "rotten"))
    sound = Taker(loop, turns, clock, served, "sound")
    turns.queue(sound)
    with pytest.raises(ZeroDivisionError):
        turns._serve()
    assert turns._scheduled
    assert list(turns._addresses) == ["sound"]


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
    assert (play.loop.waits_for, len(play.loop.timers)) == ("turn", 1)
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
    assert play.loop.waits_for == "input"  # it reads to the end
    play.loop.run_timers()  # its turn comes, and passes
    assert not play.context.turns._waiting
    assert not play.loop.timers


def test_input_while_a_connection_waits_for_something_else_stops_its_watcher(play: Play) -> None:
    play.hello()
    watcher = play.loop.watchers[0]
    play.peer.space = 0
    play.send(b"".join(b'{"type":"ping","id":"%d"}\n' % number for number in range(100)))
    assert play.loop.waits_for == "event"  # for the peer to read
    fire = watcher.callback
    assert fire is not None
    fire()
    active = [watcher.active]  # not any more, else the loop would call it in every round
    play.settle(lambda: play.loop.waits_for == "input")
    active.append(watcher.active)
    assert active == [False, True]
    assert play.types == ["welcome", *["pong"] * 100]


def test_commands_of_one_read_have_turns_between_shares(make_play: type[Play]) -> None:
    play = make_play(limited=True)
    play.hello()
    play.clock.step = ADDRESS_SHARE_S  # for each look: the time slice would be enough for all
    play.send(PING * 4)
    waits = 0
    while play.loop.waits_for == "turn":
        waits += 1
        play.loop.run_timers()
    assert waits >= 2
    assert play.types[1:] == ["pong"] * 4


def leave_after_another(play: Play) -> None:
    """Leave the room, and let the commit also end the wait of another connection of the address, before."""
    play.hello()
    play.send(b'{"type":"message","message":"x"}\n{"type":"leave","room":"lobby"}\n')
    assert play.loop.waits_for == "event"  # for the commit
    play.committer.commit()
    share = play.connection.share
    assert share is not None
    share.round, share.waits_ended = play.loop.iteration, 1
    play.loop.keeps_round = True
    play.loop.go_on()


def test_after_a_commit_the_connections_of_an_address_go_on_in_turn(make_play: type[Play]) -> None:
    play = make_play(limited=True)
    leave_after_another(play)
    assert (play.loop.waits_for, play.types) == ("turn", ["welcome", "message"])
    assert play.is_paused()
    play.loop.run_timers()
    assert play.types == ["welcome", "message", "left"]
    assert not play.is_paused()


def test_connection_may_end_while_its_command_waits_for_another_turn(make_play: type[Play]) -> None:
    play = make_play(limited=True)
    leave_after_another(play)
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    assert play.types == ["welcome", "message", "bye"]
    assert not play.errors
    assert play.loop.waits_for == "input"  # it reads to the end
    play.loop.run_timers()
    assert not play.context.turns._waiting


def test_exempt_addresses_and_servers_without_limits_per_address_have_no_shares(
    make_play: type[Play],
) -> None:
    assert make_play().connection.share is None
    play = make_play(limited=True)
    assert play.connection.share is not None
    play.hub.limits = structs.replace(play.hub.limits, rate_address_factor=0)
    assert play.context.new_share("192.0.2.1") is None
