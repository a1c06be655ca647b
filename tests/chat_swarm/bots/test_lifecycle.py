"""A bot comes back from whatever happens to its connection, and leaves nothing behind when it is ended."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat_protocol.commands import Hello, Message
from chat_protocol.dialects.ndjson import decode_command
from chat_protocol.errors import ByeReason, ErrorCode
from chat_protocol.events import Bye, Error, RoomState
from chat_swarm.bots import lifecycle
from chat_swarm.bots.profiles import Chatter, Direct, Lurker, Slow
from support.fakes.fake_server import make_welcome
from support.swarm.engine_harness import Line, ServerEnd, Swarm, echo, spoken

REFUSALS = [ErrorCode.NAME_TAKEN, ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED, ErrorCode.TOO_MANY]
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_RETRY", 0.02)


@pytest.fixture
def swarm(end: ServerEnd) -> Iterator[Swarm]:
    one = Swarm(end.port, resumable=True, message_rate=100.0, connect_timeout=5.0)
    yield one
    one.engine.close()


def before_hello(swarm: Swarm, end: ServerEnd) -> Line:
    return end.accept(swarm)


def before_welcome(swarm: Swarm, end: ServerEnd) -> Line:
    line = end.accept(swarm)
    line.next(Hello)
    return line


def half_a_welcome(swarm: Swarm, end: ServerEnd) -> Line:
    line = before_welcome(swarm, end)
    line.raw(b'{"type":"welc')
    swarm.turn()
    return line


def garbage(swarm: Swarm, end: ServerEnd) -> Line:
    line = before_welcome(swarm, end)
    line.raw(b'{"type":"welcome"}\n\xff\xfe\n')
    swarm.until(lambda: swarm.engine.errors["bad_frame_from_server"])
    return line


def endless_line(swarm: Swarm, end: ServerEnd) -> Line:
    line = before_welcome(swarm, end)
    line.raw(b"x" * 66000)
    swarm.until(lambda: swarm.engine.errors["endless_line_from_server"])
    return line


@pytest.mark.parametrize("moment", [before_hello, before_welcome, half_a_welcome, garbage, endless_line])
@pytest.mark.parametrize("way", [Line.end, Line.reset])
def test_a_connection_that_ends_before_the_welcome_is_tried_again(
    swarm: Swarm, end: ServerEnd, moment: Callable[[Swarm, ServerEnd], Line], way: Callable[[Line], None]
) -> None:
    [bot] = swarm.begin(Lurker)
    way(moment(swarm, end))
    end.accept(swarm).greet()
    swarm.until(lambda: bot.up)
    counts = swarm.account()
    assert (counts["connect_failures"], counts["logins"], counts["cuts"]) == (1, 1, 0)
    assert swarm.engine.connected == 1


@pytest.mark.parametrize("code", REFUSALS)
def test_a_hello_that_is_refused_is_tried_again(swarm: Swarm, end: ServerEnd, code: ErrorCode) -> None:
    [bot] = swarm.begin(Chatter)
    line = before_welcome(swarm, end)
    line.send(Error(code=code, message="no"))
    swarm.until(lambda: line.came() or line.ended, "the end of the refused connection")
    end.accept(swarm).greet()
    swarm.until(lambda: bot.up)
    assert swarm.engine.errors == {code.value: 1}
    assert swarm.account()["errors"] == (code is not ErrorCode.NAME_TAKEN)


def test_nobody_listens(end: ServerEnd) -> None:
    end.refuse()
    swarm = Swarm(end.port)
    try:
        [bot] = swarm.begin(Lurker)
        swarm.until(lambda: swarm.engine.errors["ECONNREFUSED"] >= 2)
        assert not bot.was_there()
        assert swarm.engine.final()["never_there"] == 1
        assert swarm.account()["connect_failures"] >= 2
    finally:
        swarm.engine.close()


def test_a_server_that_says_nothing_is_given_up(end: ServerEnd) -> None:
    swarm = Swarm(end.port, connect_timeout=0.05)
    try:
        swarm.begin(Lurker)
        before_welcome(swarm, end)
        end.accept(swarm)
        assert swarm.engine.errors["no welcome within 0.05 s"] >= 1
    finally:
        swarm.engine.close()


def test_after_a_bye_it_comes_no_sooner_than_it_was_asked_to(swarm: Swarm, end: ServerEnd) -> None:
    [bot] = swarm.begin(Lurker)
    line = end.accept(swarm)
    line.greet()
    swarm.until(lambda: bot.up)
    said_ns = time.monotonic_ns()
    line.send(Bye(reason=ByeReason.SHUTDOWN, after=0.6))
    line.end()
    end.accept(swarm)
    assert time.monotonic_ns() - said_ns >= 0.6e9
    counts = swarm.account()
    assert (counts["byes"], counts["cuts"]) == (1, 1)


@pytest.mark.parametrize("way", [Line.end, Line.reset, None])
def test_a_lost_session_is_taken_up_again(
    swarm: Swarm, end: ServerEnd, way: Callable[[Line], None] | None
) -> None:
    # Given a bot that has seen two messages, and whose own is not acknowledged
    [bot] = swarm.begin(Chatter)
    line = end.accept(swarm)
    first = line.greet(spoken(1, "ann", 1), spoken(2, "ann", 2))
    mine = line.next(Message)
    swarm.until(lambda: swarm.count("delivered") == 2)
    # When its connection is lost, or cut
    if way is None:
        bot.cut()
    else:
        way(line)
    # Then it asks for its session, from where it stood
    line = end.accept(swarm)
    hello = line.next(Hello)
    assert hello.resume is not None
    assert hello.resume.session == first.session
    assert hello.resume.rooms == {"hall-0": 2}
    # And says once more what was not acknowledged
    line.send(make_welcome(RoomState("hall-0", 2, 1), resumed=True, username=bot.name))
    again = line.next(Message)
    assert (again.ref, again.message) == (mine.ref, mine.message)
    # And gets on where it was, also if its message had been stored
    swarm.engine.stop_sending()
    line.send(spoken(3, "ann", 3, time.time_ns() - 10**9))
    others = [again, *(line_ for line_ in map(_command, line.came()) if line_ is not None)]
    seq = 4
    for message in others:
        line.send(echo(bot.name, message, seq))
        seq += 1
    swarm.until(lambda: not bot.pending or line.came())
    counts = swarm.account()
    assert (counts["cuts"], counts["resumed"], counts["not_resumed"]) == (1, 1, 0)
    assert counts["caught_up"] >= 1
    assert swarm.histograms["resume"].count == 1
    assert not any(swarm.audit().counts.values())


def test_a_new_session_in_its_place_owes_nothing(swarm: Swarm, end: ServerEnd) -> None:
    [bot] = swarm.begin(Lurker)
    line = end.accept(swarm)
    line.greet(spoken(1, "ann", 1))
    swarm.until(lambda: swarm.count("delivered") == 1)
    line.end()
    line = end.accept(swarm)
    line.next(Hello)
    line.send(make_welcome(RoomState("hall-0", 7, 1), username=bot.name), spoken(8, "ann", 8))
    swarm.until(lambda: swarm.count("delivered") == 2)
    counts = swarm.account()
    assert (counts["resumed"], counts["not_resumed"], counts["logins"]) == (0, 1, 2)
    assert not any(swarm.audit().counts.values())


def test_what_was_not_resumed_may_be_stored_or_not(swarm: Swarm, end: ServerEnd) -> None:
    # Given three messages that no session answers for any more
    [bot] = swarm.begin(Chatter)
    line = end.accept(swarm)
    line.greet()
    for _ in range(3):
        line.next(Message)
    line.reset()
    # When the second of them was stored, and the bot says a fourth
    line = end.accept(swarm)
    line.next(Hello)
    line.send(make_welcome(RoomState("hall-0", 1, 1), username=bot.name))
    fourth = line.next(Message)
    swarm.engine.stop_sending()
    assert int(fourth.ref or 0) > 3
    line.send(echo(bot.name, fourth, 2))
    swarm.until(lambda: swarm.count("acknowledged") == 1)
    # Then nobody misses the others
    assert not swarm.audit().counts["lost"]


def test_a_server_that_greets_twice_has_one_session(swarm: Swarm, end: ServerEnd) -> None:
    [bot] = swarm.begin(Lurker)
    line = end.accept(swarm)
    line.greet(make_welcome(), spoken(1, "ann", 1))
    swarm.until(lambda: swarm.count("delivered") == 1)
    assert bot.up
    assert swarm.engine.connected == swarm.account()["logins"] == 1


def test_who_sits_down_after_another_goes_on_with_its_counters(swarm: Swarm, end: ServerEnd) -> None:
    [bot] = swarm.begin(Chatter)
    line = end.accept(swarm)
    line.greet()
    first = line.next(Message)
    line.send(echo(bot.name, first, 1))
    swarm.until(lambda: swarm.count("acknowledged"))
    bot.end()
    [other] = swarm.begin(Chatter)
    line = end.accept(swarm)
    line.greet()
    second = line.next(Message)
    assert other.name == bot.name
    assert int(second.ref or 0) > int(first.ref or 0)


def test_ended_bots_leave_nothing_behind(end: ServerEnd) -> None:
    # Given bots at every moment of their lives
    before = set(OPEN_FILES.iterdir())
    swarm = Swarm(end.port, resumable=True, message_rate=100.0, direct_rate=100.0, slow_rate=1e6)
    bots = [*swarm.begin(Lurker, 3), *swarm.begin(Chatter, 3), *swarm.begin(Direct, 2), *swarm.begin(Slow, 2)]
    lines = [end.accept(swarm) for _ in bots]
    for line in lines[:7]:
        line.greet()
    swarm.until(lambda: swarm.engine.connected == 7)
    lines[0].reset()
    lines[1].end()
    swarm.until(lambda: swarm.engine.connected == 5)
    # When they are ended, twice
    for bot in [*bots, *bots]:
        bot.end()
    # Then no connection, no seat and no complaint is left, and no timer does anything
    assert swarm.engine.connected == 0
    assert not swarm.engine.bots
    assert not any(swarm.engine.sources.fill.values())
    counts = swarm.account()["sent"]
    swarm.engine.reactor.run(0.3)
    assert swarm.account()["sent"] == counts
    assert not end.has_caller()
    assert swarm.audit().passed
    swarm.engine.close()
    for line in lines:
        line.sock.close()
    assert set(OPEN_FILES.iterdir()) == before


def _command(line: bytes) -> Message | None:
    command = decode_command(line)
    return command if isinstance(command, Message) else None
