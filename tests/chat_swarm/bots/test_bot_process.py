"""Bots of all profiles in one process against the real server, through storms and restarts, audited."""

import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from chat_swarm.bots import lifecycle
from chat_swarm.bots.bot_process import BotProcess
from chat_swarm.bots.profiles import Chatter, Direct, Lurker, Slow
from support.processes.fixtures import StartServer
from support.processes.process import ServerProcess
from support.swarm.engine_harness import SwarmHarness

_prefixes = count()
Begin = Callable[..., SwarmHarness]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_RETRY_S", 0.05)
    monkeypatch.setattr(lifecycle, "_MAX_RETRY_S", 0.2)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a swarm in rooms of its own."""
    begun: list[SwarmHarness] = []

    def one(server: ServerProcess, **plan: object) -> SwarmHarness:
        room = f"engine-{next(_prefixes)}"
        begun.append(SwarmHarness(server.port, room_prefix=room, room_size=6, message_rate=20.0, **plan))
        return begun[-1]

    yield one
    for swarm in begun:
        swarm.process.close()


def all_up(swarm: SwarmHarness, number: int) -> None:
    swarm.wait_until(lambda: swarm.process.connected == number, f"{number} sessions")


def test_bots_of_all_profiles_pass_the_audit(server: ServerProcess, begin: Begin) -> None:
    # Given rooms with bots of all kinds, and a pair
    swarm = begin(server, direct_rate=50.0, ping_interval=0.1, slow_rate=200.0)
    for kind, number in ((Chatter, 6), (Lurker, 3), (Slow, 3), (Direct, 2)):
        swarm.start_bots(kind, number)
    all_up(swarm, 14)
    # When they have run for a while
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 100 and swarm.sample_count("rtt") >= 5)
    found = swarm.drain_and_audit()
    # Then nothing is missing, and everything is counted
    counts = swarm.counts
    assert found.passed, found
    assert counts["sent"] == counts["acknowledged"] > 0
    assert found.checked == counts["delivered"]
    assert counts["connects"] == counts["logins"] == found.receivers == 14
    timed = swarm.histograms["delivery"].count
    assert timed + counts["untimed"] + counts["caught_up"] + counts["foreign"] == counts["delivered"]
    # (a message that was held up is timed from its plan even where its receive time is not exact)
    assert timed <= swarm.histograms["delivery_response"].count <= timed + counts["untimed"]
    assert swarm.histograms["ack"].count <= swarm.histograms["ack_response"].count <= counts["acknowledged"]
    late = [swarm.histograms[name].count for name in ("send_lag", "held_up") if name in swarm.histograms]
    assert sum(late) == counts["sent"]
    assert not swarm.process.errors
    # And no sample is negative, nor from another clock
    for metric in ("delivery", "ack", "rtt", "login", "connect"):
        assert 0 <= swarm.histograms[metric].largest < 20_000_000
    # And planned times are before send times
    assert swarm.histograms["ack_response"].value_sum >= swarm.histograms["ack"].value_sum


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_storm_of_resumable_sessions_loses_nothing(server: ServerProcess, begin: Begin, share: float) -> None:
    swarm = begin(server, resumable=True)
    swarm.start_bots(Chatter, 10)
    swarm.start_bots(Slow, 2)
    all_up(swarm, 12)
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 20)
    cut = swarm.process.cut_connections(share, 0.1)
    assert cut == round(share * 12)
    swarm.wait_until(lambda: swarm.count_of("resumed") == cut, "the end of the storm")
    found = swarm.drain_and_audit()
    assert found.passed, found
    assert swarm.counts["cuts"] == cut
    assert swarm.counts["sent"] == swarm.counts["acknowledged"]
    assert swarm.histograms["resume"].count <= cut


def test_storm_of_sessions_that_end_loses_nothing(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server, resumable=False)
    swarm.start_bots(Chatter, 6)
    all_up(swarm, 6)
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 10)
    swarm.process.cut_connections(1.0, 0.0)
    swarm.wait_until(lambda: swarm.count_of("logins") == 12, "the end of the storm")
    found = swarm.drain_and_audit()
    assert found.passed, found
    assert swarm.counts["resumed"] == swarm.counts["not_resumed"] == 0


def test_bots_shut_down_and_replaced_are_no_fault(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server)
    bots = swarm.start_bots(Chatter, 6)
    all_up(swarm, 6)
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 10)
    for bot in bots[:3]:
        bot.shut_down()
    swarm.start_bots(Chatter, 3)
    all_up(swarm, 6)
    before = swarm.count_of("acknowledged")
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= before + 20)
    found = swarm.drain_and_audit()
    assert found.passed, found


def test_server_killed_and_restarted_loses_nothing(start_server: StartServer, begin: Begin) -> None:
    server = start_server()
    swarm = begin(server, resumable=True)
    swarm.start_bots(Chatter, 5)
    all_up(swarm, 5)
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 20)
    server.kill()
    swarm.wait_until(lambda: swarm.process.errors["ECONNREFUSED"] >= 3)
    server.start("--port", str(server.port))
    swarm.wait_until(lambda: swarm.count_of("resumed") == 5, "the end of the outage")
    found = swarm.drain_and_audit()
    assert found.passed, found
    assert 0 < swarm.histograms["resume"].count <= 5  # a welcome among other lines may not be timed
    assert swarm.process.final_report()["away"] == 0


def test_server_killed_for_good_leaves_bots_behind(start_server: StartServer, begin: Begin) -> None:
    server = start_server()
    swarm = begin(server, resumable=True)
    swarm.start_bots(Lurker, 3)
    all_up(swarm, 3)
    server.kill()
    swarm.wait_until(lambda: not swarm.process.connected)
    # Then a drain cannot complete, and the final report says why
    assert swarm.process.count_behind({}) == 3
    assert swarm.process.final_report()["away"] == 3


def test_server_that_loses_its_log_fails_the_audit(start_server: StartServer, begin: Begin) -> None:
    # Given a server without a store, which issues seqs from 1 again after a restart
    server = start_server("--store", "memory")
    swarm = begin(server, resumable=True)
    swarm.start_bots(Chatter, 5)
    all_up(swarm, 5)
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 20)
    server.kill()
    server.start("--port", str(server.port))
    swarm.wait_until(lambda: swarm.count_of("not_resumed") == 5, "the end of the outage")
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= 25)
    swarm.process.stop_sending()
    swarm.process.loop.run_for(0.2)
    # Then acknowledged messages are gone, and the run says so
    assert not swarm.merged_audit().passed


def test_reports_cover_seconds_of_the_wall_clock(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server)
    swarm.start_bots(Lurker, 2)
    first = int(time.time())
    swarm.wait_until(lambda: len(swarm.intervals) >= 2)
    seconds = [interval.unix for interval in swarm.intervals]
    assert seconds == sorted(set(seconds))
    assert first <= seconds[0] <= seconds[-1] <= time.time()
    assert all(interval.bots == 2 for interval in swarm.intervals)
    assert sum(interval.seconds for interval in swarm.intervals) <= time.time() - first + 1


def test_second_with_a_blocked_loop_is_marked(server: ServerProcess, begin: Begin) -> None:
    swarm = begin(server, lag_limit=0.05)
    engine: BotProcess = swarm.process
    engine.loop.run_for(0.05)
    time.sleep(0.1)
    engine.loop.run_for(0.05)
    engine.report_second()
    assert any(interval.marked == "loop lag over 50 ms" for interval in swarm.intervals)
    assert swarm.histograms["loop_lag"].largest >= 80_000
