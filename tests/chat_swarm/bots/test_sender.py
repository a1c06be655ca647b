"""What a bot says is planned by its schedule alone, and timed from there, whatever the server does."""

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
from support.swarm.engine_harness import Line, ServerEnd, Swarm, echo, spoken, stamped

RATE = 500.0
PERIOD_NS = 2_000_000
CLOCKS_NS = 500_000  # between two readings of the wall clock's offset to the monotonic one


@pytest.fixture
def swarm(end: ServerEnd) -> Iterator[Swarm]:
    one = Swarm(end.port, resumable=True, message_rate=RATE, direct_rate=RATE, payload_bytes=constant(4000.0))
    yield one
    one.engine.close()


def chatter(swarm: Swarm, end: ServerEnd) -> tuple[Chatter, Line]:
    [bot] = swarm.begin(Chatter)
    line = end.accept(swarm)
    line.greet()
    swarm.until(lambda: bot.up)
    return bot, line


def on_schedule(messages: list[Message]) -> bool:
    """Return whether the messages' planned moments are a period apart, and their counters one."""
    stamps = [stamped(message) for message in messages]
    return [one.counter for one in stamps] == list(range(1, len(stamps) + 1)) and all(
        abs(one.planned_ns - stamps[0].planned_ns - place * PERIOD_NS) < CLOCKS_NS
        for place, one in enumerate(stamps)
    )


def test_a_server_that_stops_reading_omits_nothing(swarm: Swarm, end: ServerEnd) -> None:
    # Given a bot that says much, to a server that acknowledges at once
    bot, line = chatter(swarm, end)
    messages = [line.next(Message) for _ in range(20)]
    line.send(*(echo(bot.name, message, seq) for seq, message in enumerate(messages, 1)))
    # When the server stops reading for 300 ms, and the kernel soon takes no more
    stalled_ns = time.time_ns()
    wire = bot.wire
    assert wire is not None
    assert wire._sock is not None
    wire._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    swarm.engine.reactor.run(0.3)
    assert wire.blocked
    resumed_ns = time.time_ns()
    # Then all that was planned is said, each once and planned for its slot
    while stamped(messages[-1]).planned_ns < resumed_ns:
        messages.append(line.next(Message))
        line.send(echo(bot.name, messages[-1], len(messages)))
    swarm.engine.stop_sending()
    assert on_schedule(messages)
    # And what fell into the stall is late by all that was left of it
    swarm.until(lambda: swarm.count("acknowledged") >= len(messages))
    owed = [
        one.planned_ns
        for one in map(stamped, messages)
        if stalled_ns <= one.planned_ns <= resumed_ns - 50_000_000
    ]
    assert len(owed) >= 100
    swarm.account()
    waits = sum(count for value, count in swarm.histograms["ack_response"].buckets() if value >= 49_900)
    # (the bot does not read while the test says the server's part: some echoes have no moment)
    assert waits + swarm.counts["untimed"] >= len(owed)
    assert swarm.counts["untimed"] < len(owed) / 4
    assert swarm.histograms["held_up"].largest >= 90_000


def test_a_server_that_never_answers_changes_no_slot(swarm: Swarm, end: ServerEnd) -> None:
    _, line = chatter(swarm, end)
    messages = [line.next(Message) for _ in range(50)]
    assert on_schedule(messages)
    swarm.engine.stop_sending()
    assert swarm.engine.unacknowledged() >= 50
    assert swarm.audit().counts["unanswered"] == swarm.engine.unacknowledged() == swarm.count("sent")


def test_what_is_planned_while_it_is_away_is_said_later(swarm: Swarm, end: ServerEnd) -> None:
    bot, line = chatter(swarm, end)
    messages = [line.next(Message) for _ in range(5)]
    line.send(*(echo(bot.name, message, seq) for seq, message in enumerate(messages, 1)))
    swarm.until(lambda: swarm.count("acknowledged") == 5)
    bot.cut()
    line = end.accept(swarm)
    line.next(Hello)
    swarm.engine.reactor.run(0.05)
    line.send(make_welcome(RoomState("hall-0", 5, 1), resumed=True, username=bot.name))
    swarm.until(lambda: bot.up)
    here: dict[int, Message] = {int(one.ref or 0): one for one in messages}
    while len(here) < 60:
        message = line.next(Message)
        here[int(message.ref or 0)] = message
    assert on_schedule(list(here.values()))


def test_a_refusal_is_final_but_for_one_that_may_be_stored(swarm: Swarm, end: ServerEnd) -> None:
    # Given two messages
    bot, line = chatter(swarm, end)
    first, second = line.next(Message), line.next(Message)
    swarm.engine.stop_sending()
    swarm.turn()
    rest = len(bot.pending) - 2
    # When one is refused, and of the other nobody knows
    line.send(
        Error(code=ErrorCode.RATE_LIMITED, message="slowly", ref=first.ref),
        Error(code=ErrorCode.UNAVAILABLE, message="later", ref=second.ref, retry_after=0.01),
    )
    # Then the second is said again, and its answer counts
    while (again := line.next(Message)).ref != second.ref:
        pass
    assert again.message == second.message
    line.send(echo(bot.name, second, 1, again=True), echo(bot.name, second, 1))
    swarm.until(lambda: len(bot.pending) == rest)
    counts = swarm.account()
    assert (counts["refused"], counts["acknowledged"], counts["errors"]) == (1, 1, 2)
    assert not swarm.audit().counts["lost"]


def test_another_rate_holds_from_now_on(swarm: Swarm, end: ServerEnd) -> None:
    _, line = chatter(swarm, end)
    line.next(Message)
    swarm.engine.set_rate(0.0)
    swarm.turn()
    line.came()
    counts = swarm.count("sent")
    swarm.engine.reactor.run(0.05)
    assert swarm.count("sent") == counts
    swarm.engine.set_rate(2.0)
    moments = [stamped(line.next(Message)).planned_ns for _ in range(20)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(abs(gap - PERIOD_NS // 2) < CLOCKS_NS for gap in gaps)


@pytest.mark.parametrize("window", [1, 3])
def test_never_more_than_a_window_is_unacknowledged(end: ServerEnd, window: int) -> None:
    swarm = Swarm(end.port, direct_rate=RATE, window=window)
    try:
        # Given a pair
        bots = swarm.begin(Direct, 2)
        lines = {}
        for _ in bots:
            line = end.accept(swarm)
            lines[line.greet().username] = line
        one, other = lines.values()
        asked = one.next(Open)
        assert asked.peer in lines
        other.next(Open)
        one.send(Error(code=ErrorCode.NO_SUCH_USER, message="not here"))
        for name, line in lines.items():
            line.send(Opened(room="@a,b", peer=asked.peer, by=name, seq=0))
        # When nobody answers for so long
        swarm.until(lambda: all(len(bot.pending) == window for bot in bots))
        swarm.engine.reactor.run(0.05)
        # Then they say no more
        for line in lines.values():
            assert len(line.came()) == window
        assert swarm.count("sent") == 2 * window
        # And one more for each answer, planned long ago
        first = min(bots[0].pending)
        own = lines[bots[0].name]
        own.send(spoken(1, bots[0].name, first, room="@a,b", ref=str(first)))
        message = own.next(Message)
        assert stamped(message).counter == window + 1
        assert len(bots[0].pending) == window
        assert not swarm.engine.errors
    finally:
        swarm.engine.close()


def test_a_slow_bot_that_came_back_reads_as_slowly(end: ServerEnd) -> None:
    swarm = Swarm(end.port, resumable=True, slow_rate=400.0)
    try:
        [bot] = swarm.begin(Slow)
        for _ in range(4):
            line = end.accept(swarm)
            line.greet(resumed=bot.was_there())
            swarm.until(lambda: bot.up)
            bot.cut()
        line = end.accept(swarm)
        line.greet(resumed=True)
        swarm.until(lambda: bot.up)
        line.send(*(spoken(seq, "ann", seq) for seq in range(1, 100)))
        before, greetings = time.monotonic(), swarm.count("received_bytes")
        swarm.engine.reactor.run(0.6)
        spent = time.monotonic() - before
        assert swarm.count("received_bytes") - greetings <= 400 * (spent + 0.5)
        # Until the end of the run, when it catches up
        swarm.engine.stop_sending()
        swarm.until(lambda: swarm.count("delivered") == 99)
        assert swarm.count("untimed") + swarm.count("caught_up") == 99
        assert "delivery" not in swarm.histograms
    finally:
        swarm.engine.close()


def test_a_slow_bot_takes_what_came_with_its_welcome_before_all_else(end: ServerEnd) -> None:
    class Later(Slow):
        """To which more has come by the time it has taken its welcome."""

        __slots__ = ()

        def ready(self) -> None:
            line.send(spoken(4, "ann", 4))
            super().ready()

    swarm = Swarm(end.port)
    try:
        [bot] = swarm.begin(Later)
        line = end.accept(swarm)
        line.greet(*(spoken(seq, "ann", seq) for seq in (1, 2, 3)))
        swarm.until(lambda: swarm.count("delivered") == 4)
        assert [receiver.position for receiver in bot.receivers.values()] == [4]
        assert swarm.audit().passed
    finally:
        swarm.engine.close()


def test_slots_that_were_held_up_until_the_end_are_counted(swarm: Swarm, end: ServerEnd) -> None:
    # Given a bot that could not send for 300 ms, since nothing more went out
    bot, _ = chatter(swarm, end)
    swarm.until(lambda: swarm.count("sent") > 0)
    wire = bot.wire
    assert wire is not None
    wire.blocked = True
    swarm.engine.reactor.run(0.3)
    sent = swarm.count("sent")
    # When the run stops sending
    swarm.engine.stop_sending()
    # Then the slots of that time are told of, and none of them was said
    assert swarm.count("sent") == sent
    assert swarm.count("unsent") >= 0.25 * RATE
