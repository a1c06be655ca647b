"""Transitional states: before a conversation is open, while connecting, as a run stops."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from chat_protocol.commands import Hello, Message, Open
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import Bye, Error, Opened, PingEvent
from chat_swarm.bots import lifecycle
from chat_swarm.bots.profiles import Chatter, Direct, Lurker, Slow
from chat_swarm.loop.rx_timestamps import RxTimestamping
from chat_swarm.model import distributions
from support.swarm.engine_harness import ScriptedServer, SwarmHarness, echo

OPENED = Opened(room="@a,b", peer="b", by="b", seq=0)


@pytest.fixture
def begin(scripted_server: ScriptedServer) -> Iterator[Any]:
    begun: list[SwarmHarness] = []

    def one(**plan: Any) -> SwarmHarness:
        begun.append(SwarmHarness(scripted_server.port, **plan))
        return begun[-1]

    yield one
    for swarm in begun:
        swarm.process.close()


def alone(swarm: SwarmHarness, scripted_server: ScriptedServer) -> Any:
    """Accept a bot whose partner is away."""
    conn = scripted_server.accept(swarm)
    conn.greet()
    ask = conn.expect(Open)
    conn.send(Error(code=ErrorCode.NO_SUCH_USER, message="nobody", ref=ask.ref))
    return conn


def test_direct_bot_waits_for_its_partner(begin: Any, scripted_server: ScriptedServer) -> None:
    # Given a bot whose partner is not connected
    swarm = begin(direct_rate=200.0)
    [bot] = swarm.start_bots(Direct)
    conn = alone(swarm, scripted_server)
    # When the rate is changed
    swarm.process.set_rate(2.0)
    swarm.process.loop.run_for(0.1)
    # Then it waits for the partner
    assert not conn.received_lines()
    assert not bot.pending
    conn.send(OPENED)
    conn.expect(Message)


def test_direct_bot_waits_for_its_partner_after_a_reconnect(
    begin: Any, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a pair that has exchanged messages, and the next slot is a while away
    monkeypatch.setattr(lifecycle, "_FIRST_RETRY_S", 0.02)
    swarm = begin(direct_rate=3.0)
    [bot] = swarm.start_bots(Direct)
    conn = alone(swarm, scripted_server)
    conn.send(OPENED)
    conn.send(echo(bot.name, conn.expect(Message), 1, room="@a,b"))
    swarm.wait_until(lambda: swarm.count_of("acknowledged") == 1)
    # When one reconnects first, as a new session
    conn.reset()
    conn = alone(swarm, scripted_server)
    said = bot.counter
    swarm.process.loop.run_for(0.4)
    # Then it sends nothing until the other is there
    assert (bot.counter, bot.pending) == (said, {})
    conn.send(OPENED)
    conn.expect(Message)


def test_direct_bot_think_time_is_not_held_up(begin: Any, scripted_server: ScriptedServer) -> None:
    # Given a bot with a long think time, and a slot every 20 ms
    swarm = begin(direct_rate=50.0, think_time=distributions.parse("0.2"))
    [bot] = swarm.start_bots(Direct)
    conn = alone(swarm, scripted_server)
    conn.send(OPENED)
    for seq in (1, 2, 3):
        conn.send(echo(bot.name, conn.expect(Message), seq, room="@a,b"))
    swarm.wait_until(lambda: swarm.count_of("acknowledged") == 3)
    # Then no message was planned during the think time
    assert swarm.sample_count("ack_response") == 3
    assert swarm.histograms["ack_response"].largest < 200_000 + swarm.histograms["ack"].largest


def test_slow_bot_connecting_at_the_stop_still_logs_in(begin: Any, scripted_server: ScriptedServer) -> None:
    swarm = begin()
    [bot] = swarm.start_bots(Slow)
    assert bot.connection is not None
    swarm.process.stop_sending()
    conn = scripted_server.accept(swarm)
    conn.greet()
    swarm.wait_until(lambda: bot.up)
    # And a bot started afterwards counts as never connected
    swarm.start_bots(Lurker)
    assert swarm.process.final_report()["never_there"] == 1


def test_bot_logging_in_at_the_stop_is_no_fault(begin: Any) -> None:
    swarm = begin()
    swarm.start_bots(Lurker, 3)
    swarm.process.stop_sending()
    assert swarm.process.final_report()["never_there"] == 0


def test_refused_bot_waits_for_the_delay_of_the_bye(
    begin: Any, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm = begin()
    waits: list[float] = []
    after = swarm.process.loop.call_later

    def spied(seconds: float, callback: Any) -> None:
        waits.append(seconds)
        after(seconds, callback)

    swarm.start_bots(Lurker)
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    monkeypatch.setattr(swarm.process.loop, "call_later", spied)
    refused = Error(code=ErrorCode.TOO_MANY, message="full")
    conn.send(refused, refused, Bye(reason=ByeReason.TOO_MANY_CONNECTIONS, after=5.0))
    swarm.wait_until(lambda: swarm.count_of("connect_failures"))
    assert [wait >= 5.0 for wait in waits] == [True]
    assert swarm.count_of("connect_failures") == swarm.count_of("byes") == 1


def test_name_still_taken_is_no_failure(begin: Any, scripted_server: ScriptedServer) -> None:
    swarm = begin()
    swarm.start_bots(Lurker)
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    conn.send(Error(code=ErrorCode.NAME_TAKEN, message="taken"))
    scripted_server.accept(swarm).greet()
    swarm.wait_until(lambda: swarm.count_of("logins"))
    assert swarm.count_of("connect_failures") == swarm.count_of("errors") == 0


def test_events_of_a_lost_connection_do_not_affect_the_next(
    begin: Any, scripted_server: ScriptedServer
) -> None:
    # Given a read whose first line is answered on a connection that is already lost
    swarm = begin(message_rate=50.0)
    swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    said = conn.expect(Message)
    conn.send(PingEvent(id="1"), Error(code=ErrorCode.RATE_LIMITED, message="slow", ref=said.ref))
    conn.reset()
    time.sleep(0.05)
    # Then the rest of it is neither a refused hello nor a second loss
    scripted_server.accept(swarm).greet()
    swarm.wait_until(lambda: swarm.count_of("logins") == 2)
    assert (swarm.count_of("cuts"), swarm.count_of("connect_failures")) == (1, 0)


def test_rx_timestamping_is_enabled_when_created() -> None:
    stamping = RxTimestamping()
    assert stamping.enabled
    stamping.close()


def test_second_with_late_sends_is_marked(begin: Any) -> None:
    swarm = begin(lag_limit=0.1)
    for lag_ms, marked in ((90, ""), (150, "sent late by over 100 ms")):
        swarm.process.recorder.add_sample("send_lag", lag_ms * 1_000_000)
        time.sleep(0.05)  # a second of no length would use all of its CPU time
        swarm.process.report_second()
        assert swarm.intervals[-1].marked == marked
