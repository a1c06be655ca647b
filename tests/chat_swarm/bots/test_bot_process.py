"""Bots of all kinds on one engine, against the real server, through storms and deaths: the audit tells."""

import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from chat_swarm.bots import lifecycle
from chat_swarm.bots.bot_process import Engine
from chat_swarm.bots.profiles import Chatter, Direct, Lurker, Slow
from support.processes.fixtures import StartServer
from support.processes.process import ServerProcess
from support.swarm.engine_harness import Swarm

_prefixes = count()
Begin = Callable[..., Swarm]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_RETRY", 0.05)
    monkeypatch.setattr(lifecycle, "_LAST_RETRY", 0.2)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begin a swarm in rooms of its own."""
    begun: list[Swarm] = []

    def one(server: ServerProcess, **plan: object) -> Swarm:
        room = f"engine-{next(_prefixes)}"
        begun.append(Swarm(server.port, room_prefix=room, room_size=6, message_rate=20.0, **plan))
        return begun[-1]

    yield one
    for swarm in begun:
        swarm.engine.close()


def all_up(swarm: Swarm, number: int) -> None:
    swarm.until(lambda: swarm.engine.connected == number, f"{number} sessions")


def test_all_kinds_together(server: ServerProcess, begin: Begin) -> None:
    # Given rooms with bots of all kinds, and a pair
    swarm = begin(server, direct_rate=50.0, ping_interval=0.1, slow_rate=200.0)
    for kind, number in ((Chatter, 6), (Lurker, 3), (Slow, 3), (Direct, 2)):
        swarm.begin(kind, number)
    all_up(swarm, 14)
    # When they have lived for a while
    swarm.until(lambda: swarm.count("acknowledged") >= 100 and swarm.samples("rtt") >= 5)
    found = swarm.quiet()
    # Then nobody misses anything, and all that was done is accounted for
    counts = swarm.counts
    assert found.passed, found
    assert counts["sent"] == counts["acknowledged"] > 0
    assert found.checked == counts["delivered"]
    assert counts["connects"] == counts["logins"] == found.receivers == 14
    timed = swarm.histograms["delivery"].count
    assert timed + counts["untimed"] + counts["caught_up"] + counts["foreign"] == counts["delivered"]
    assert swarm.histograms["delivery_response"].count == timed
    assert swarm.histograms["ack"].count == swarm.histograms["ack_response"].count
    late = [swarm.histograms[name].count for name in ("send_lag", "held_up") if name in swarm.histograms]
    assert sum(late) == counts["sent"]
    assert not swarm.engine.errors
    # And no sample is from the future, nor from another clock
    for metric in ("delivery", "ack", "rtt", "login", "connect"):
        assert 0 <= swarm.histograms[metric].largest < 20_000_000
    # And the planned moment comes before the sent one
    assert swarm.histograms["ack_response"].total >= swarm.histograms["ack"].total


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_storm_is_survived_without_a_loss(server: ServerProcess, begin: Begin, share: float) -> None:
    swarm = begin(server, resumable=True)
    swarm.begin(Chatter, 10)
    swarm.begin(Slow, 2)
    all_up(swarm, 12)
    swarm.until(lambda: swarm.count("acknowledged") >= 20)
    cut = swarm.engine.cut(share, 0.1)
    assert cut == round(share * 12)
    swarm.until(lambda: swarm.count("resumed") == cut, "the end of the storm")
    found = swarm.quiet()
    assert found.passed, found
    assert swarm.counts["cuts"] == cut
    assert swarm.counts["sent"] == swarm.counts["acknowledged"]
    assert swarm.histograms["resume"].count <= cut


def test_a_storm_of_sessions_that_end_is_no_loss_either(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server, resumable=False)
    swarm.begin(Chatter, 6)
    all_up(swarm, 6)
    swarm.until(lambda: swarm.count("acknowledged") >= 10)
    swarm.engine.cut(1.0, 0.0)
    swarm.until(lambda: swarm.count("logins") == 12, "the end of the storm")
    found = swarm.quiet()
    assert found.passed, found
    assert swarm.counts["resumed"] == swarm.counts["not_resumed"] == 0


def test_who_is_ended_and_begun_again_is_no_fault(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server)
    bots = swarm.begin(Chatter, 6)
    all_up(swarm, 6)
    swarm.until(lambda: swarm.count("acknowledged") >= 10)
    for bot in bots[:3]:
        bot.end()
    swarm.begin(Chatter, 3)
    all_up(swarm, 6)
    before = swarm.count("acknowledged")
    swarm.until(lambda: swarm.count("acknowledged") >= before + 20)
    found = swarm.quiet()
    assert found.passed, found


def test_a_server_that_dies_and_comes_back_loses_nothing(start_server: StartServer, begin: Begin) -> None:
    server = start_server()
    swarm = begin(server, resumable=True)
    swarm.begin(Chatter, 5)
    all_up(swarm, 5)
    swarm.until(lambda: swarm.count("acknowledged") >= 20)
    server.kill()
    swarm.until(lambda: swarm.engine.errors["ECONNREFUSED"] >= 3)
    server.start("--port", str(server.port))
    swarm.until(lambda: swarm.count("resumed") == 5, "the end of the outage")
    found = swarm.quiet()
    assert found.passed, found
    assert 0 < swarm.histograms["resume"].count <= 5  # a welcome among other lines may have no moment
    assert swarm.engine.final()["away"] == 0


def test_a_server_that_dies_for_good_is_missed(start_server: StartServer, begin: Begin) -> None:
    server = start_server()
    swarm = begin(server, resumable=True)
    swarm.begin(Lurker, 3)
    all_up(swarm, 3)
    server.kill()
    swarm.until(lambda: not swarm.engine.connected)
    # Whoever waits for all to have come waits in vain, and is told why
    assert swarm.engine.behind({}) == 3
    assert swarm.engine.final()["away"] == 3


def test_a_server_that_forgets_all_is_found_out(start_server: StartServer, begin: Begin) -> None:
    # Given a server without a store, which issues its seqs anew when it starts again
    server = start_server("--store", "memory")
    swarm = begin(server, resumable=True)
    swarm.begin(Chatter, 5)
    all_up(swarm, 5)
    swarm.until(lambda: swarm.count("acknowledged") >= 20)
    server.kill()
    server.start("--port", str(server.port))
    swarm.until(lambda: swarm.count("not_resumed") == 5, "the end of the outage")
    swarm.until(lambda: swarm.count("acknowledged") >= 25)
    swarm.engine.stop_sending()
    swarm.engine.reactor.run(0.2)
    # Then what had been acknowledged is gone, and the run says so
    assert not swarm.audit().passed


def test_seconds_are_the_wall_clocks(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server)
    swarm.begin(Lurker, 2)
    first = int(time.time())
    swarm.until(lambda: len(swarm.intervals) >= 2)
    seconds = [interval.unix for interval in swarm.intervals]
    assert seconds == sorted(set(seconds))
    assert first <= seconds[0] <= seconds[-1] <= time.time()
    assert all(interval.bots == 2 for interval in swarm.intervals)
    assert sum(interval.seconds for interval in swarm.intervals) <= time.time() - first + 1


def test_a_second_in_which_the_swarm_stood_still_is_marked(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server, lag_limit=0.05)
    engine: Engine = swarm.engine
    engine.reactor.run(0.05)
    time.sleep(0.1)
    engine.reactor.run(0.05)
    engine.account()
    assert any(interval.marked == "loop lag over 50 ms" for interval in swarm.intervals)
    assert swarm.histograms["loop_lag"].largest >= 80_000
