"""Messages are planned by the schedule alone and timed from there, whatever the server does."""

import itertools
import socket
import time
from collections.abc import Iterator

import pytest

from chat_protocol.commands import Hello, Message, Open
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Error, Opened, RoomState
from chat_swarm.bots.profiles import Chatter, Direct, Slow
from chat_swarm.model.distributions import constant
from support.fakes.fake_server import make_welcome
from support.swarm.engine_harness import (
    ScriptedServer,
    ServerConnection,
    SwarmHarness,
    echo,
    header_of,
    message_from,
)

RATE_PER_S = 500.0
PERIOD_NS = 2_000_000
CLOCK_OFFSET_ERROR_NS = 500_000  # between two readings of the wall clock's offset to the monotonic one


@pytest.fixture
def swarm(scripted_server: ScriptedServer) -> Iterator[SwarmHarness]:
    one = SwarmHarness(
        scripted_server.port,
        resumable=True,
        message_rate=RATE_PER_S,
        direct_rate=RATE_PER_S,
        payload_bytes=constant(4000.0),
    )
    yield one
    one.process.close()


def chatter(swarm: SwarmHarness, scripted_server: ScriptedServer) -> tuple[Chatter, ServerConnection]:
    [bot] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    swarm.wait_until(lambda: bot.up)
    return bot, conn


def on_schedule(messages: list[Message]) -> bool:
    """Return whether planned times are a period apart, and counters ascend by one."""
    stamps = [header_of(message) for message in messages]
    return [one.counter for one in stamps] == list(range(1, len(stamps) + 1)) and all(
        abs(one.planned_ns - stamps[0].planned_ns - place * PERIOD_NS) < CLOCK_OFFSET_ERROR_NS
        for place, one in enumerate(stamps)
    )


def test_server_that_stops_reading_delays_but_omits_no_message(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    # Given a bot with a high rate, and a server that acknowledges at once
    bot, conn = chatter(swarm, scripted_server)
    messages = [conn.expect(Message) for _ in range(20)]
    conn.send(*(echo(bot.name, message, seq) for seq, message in enumerate(messages, 1)))
    # When the server stops reading for 300 ms, and the socket buffer fills up
    stalled_ns = time.time_ns()
    connection = bot.connection
    assert connection is not None
    assert connection._sock is not None
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    swarm.process.loop.run_for(0.3)
    assert connection.blocked
    resumed_ns = time.time_ns()
    # Then every planned message is sent once, with its planned time
    while header_of(messages[-1]).planned_ns < resumed_ns:
        messages.append(conn.expect(Message))
        conn.send(echo(bot.name, messages[-1], len(messages)))
    swarm.process.stop_sending()
    assert on_schedule(messages)
    # And a message planned during the stall is late by the rest of the stall
    swarm.wait_until(lambda: swarm.count_of("acknowledged") >= len(messages))
    owed = [
        one.planned_ns
        for one in map(header_of, messages)
        if stalled_ns <= one.planned_ns <= resumed_ns - 50_000_000
    ]
    assert len(owed) >= 100
    swarm.flush_counts()
    waits = sum(count for value, count in swarm.histograms["ack_response"].buckets() if value >= 49_900)
    # (the bot does not read while the test plays the server: some echoes are not timed)
    assert waits + swarm.counts["untimed"] >= len(owed)
    assert swarm.counts["untimed"] < len(owed) / 4
    assert swarm.histograms["held_up"].largest >= 90_000


def test_server_that_never_answers_changes_no_planned_time(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    _, conn = chatter(swarm, scripted_server)
    messages = [conn.expect(Message) for _ in range(50)]
    assert on_schedule(messages)
    swarm.process.stop_sending()
    assert swarm.process.count_unacknowledged() >= 50
    assert (
        swarm.merged_audit().counts["unanswered"]
        == swarm.process.count_unacknowledged()
        == swarm.count_of("sent")
    )


def test_messages_planned_while_disconnected_are_sent_later(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    bot, conn = chatter(swarm, scripted_server)
    messages = [conn.expect(Message) for _ in range(5)]
    conn.send(*(echo(bot.name, message, seq) for seq, message in enumerate(messages, 1)))
    swarm.wait_until(lambda: swarm.count_of("acknowledged") == 5)
    bot.cut_connection()
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    swarm.process.loop.run_for(0.05)
    conn.send(make_welcome(RoomState("hall-0", 5, 1), resumed=True, username=bot.name))
    swarm.wait_until(lambda: bot.up)
    here: dict[int, Message] = {int(one.ref or 0): one for one in messages}
    while len(here) < 60:
        message = conn.expect(Message)
        here[int(message.ref or 0)] = message
    assert on_schedule(list(here.values()))


def test_refused_message_is_dropped_but_unavailable_is_resent(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    # Given two messages
    bot, conn = chatter(swarm, scripted_server)
    first, second = conn.expect(Message), conn.expect(Message)
    swarm.process.stop_sending()
    swarm.run_once()
    rest = len(bot.pending) - 2
    # When one is refused, and the outcome of the other is unknown
    conn.send(
        Error(code=ErrorCode.RATE_LIMITED, message="slowly", ref=first.ref),
        Error(code=ErrorCode.UNAVAILABLE, message="later", ref=second.ref, retry_after=0.01),
    )
    # Then the second is sent again, and its answer counts
    while (again := conn.expect(Message)).ref != second.ref:
        pass
    assert again.message == second.message
    conn.send(echo(bot.name, second, 1, again=True), echo(bot.name, second, 1))
    swarm.wait_until(lambda: len(bot.pending) == rest)
    counts = swarm.flush_counts()
    assert (counts["refused"], counts["acknowledged"], counts["errors"]) == (1, 1, 2)
    assert not swarm.merged_audit().counts["lost"]


def test_set_rate_changes_the_period_from_now_on(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    _, conn = chatter(swarm, scripted_server)
    conn.expect(Message)
    swarm.process.set_rate(0.0)
    swarm.run_once()
    conn.received_lines()
    counts = swarm.count_of("sent")
    swarm.process.loop.run_for(0.05)
    assert swarm.count_of("sent") == counts
    swarm.process.set_rate(2.0)
    planned_times_ns = [header_of(conn.expect(Message)).planned_ns for _ in range(20)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(planned_times_ns)]
    assert all(abs(gap - PERIOD_NS // 2) < CLOCK_OFFSET_ERROR_NS for gap in gaps)


@pytest.mark.parametrize("window", [1, 3])
def test_direct_bot_never_exceeds_its_window(scripted_server: ScriptedServer, window: int) -> None:
    swarm = SwarmHarness(scripted_server.port, direct_rate=RATE_PER_S, window=window)
    try:
        # Given a pair
        bots = swarm.start_bots(Direct, 2)
        conns = {}
        for _ in bots:
            conn = scripted_server.accept(swarm)
            conns[conn.greet().username] = conn
        one, other = conns.values()
        asked = one.expect(Open)
        assert asked.peer in conns
        other.expect(Open)
        one.send(Error(code=ErrorCode.NO_SUCH_USER, message="not here"))
        for name, conn in conns.items():
            conn.send(Opened(room="@a,b", peer=asked.peer, by=name, seq=0))
        # When nothing is answered for a while
        swarm.wait_until(lambda: all(len(bot.pending) == window for bot in bots))
        swarm.process.loop.run_for(0.05)
        # Then they send no more
        for conn in conns.values():
            assert len(conn.received_lines()) == window
        assert swarm.count_of("sent") == 2 * window
        # And one more for each answer, with its old planned time
        first = min(bots[0].pending)
        own = conns[bots[0].name]
        own.send(message_from(1, bots[0].name, first, room="@a,b", ref=str(first)))
        message = own.expect(Message)
        assert header_of(message).counter == window + 1
        assert len(bots[0].pending) == window
        assert not swarm.process.errors
    finally:
        swarm.process.close()


def test_slow_bot_reads_slowly_after_a_resume(scripted_server: ScriptedServer) -> None:
    swarm = SwarmHarness(scripted_server.port, resumable=True, slow_rate=400.0)
    try:
        [bot] = swarm.start_bots(Slow)
        for _ in range(4):
            conn = scripted_server.accept(swarm)
            conn.greet(resumed=bot.had_session())
            swarm.wait_until(lambda: bot.up)
            bot.cut_connection()
        conn = scripted_server.accept(swarm)
        conn.greet(resumed=True)
        swarm.wait_until(lambda: bot.up)
        conn.send(*(message_from(seq, "ann", seq) for seq in range(1, 100)))
        before, greetings = time.monotonic(), swarm.count_of("received_bytes")
        swarm.process.loop.run_for(0.6)
        spent = time.monotonic() - before
        assert swarm.count_of("received_bytes") - greetings <= 400 * (spent + 0.5)
        # Until the end of the run, when it catches up
        swarm.process.stop_sending()
        swarm.wait_until(lambda: swarm.count_of("delivered") == 99)
        assert swarm.count_of("untimed") + swarm.count_of("caught_up") == 99
        assert "delivery" not in swarm.histograms
    finally:
        swarm.process.close()


def test_slow_bot_handles_lines_after_its_welcome_first(scripted_server: ScriptedServer) -> None:
    class Later(Slow):
        """Gets another message while it handles its welcome."""

        __slots__ = ()

        def on_session_ready(self) -> None:
            conn.send(message_from(4, "ann", 4))
            super().on_session_ready()

    swarm = SwarmHarness(scripted_server.port)
    try:
        [bot] = swarm.start_bots(Later)
        conn = scripted_server.accept(swarm)
        conn.greet(*(message_from(seq, "ann", seq) for seq in (1, 2, 3)))
        swarm.wait_until(lambda: swarm.count_of("delivered") == 4)
        assert [receiver.position for receiver in bot.receivers.values()] == [4]
        assert swarm.merged_audit().passed
    finally:
        swarm.process.close()


def test_messages_held_up_until_the_end_are_counted_as_unsent(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    # Given a bot that could not send for 300 ms
    bot, _ = chatter(swarm, scripted_server)
    swarm.wait_until(lambda: swarm.count_of("sent") > 0)
    connection = bot.connection
    assert connection is not None
    connection.blocked = True
    swarm.process.loop.run_for(0.3)
    sent = swarm.count_of("sent")
    # When the run stops sending
    swarm.process.stop_sending()
    # Then the messages of that time are counted as unsent, and none of them was sent
    assert swarm.count_of("sent") == sent
    assert swarm.count_of("unsent") >= 0.25 * RATE_PER_S
