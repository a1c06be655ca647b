"""A bot reconnects after any loss of its connection, and releases everything when it is shut down."""

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
from support.swarm.engine_harness import ScriptedServer, ServerConnection, SwarmHarness, echo, message_from

REFUSALS = [ErrorCode.NAME_TAKEN, ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED, ErrorCode.TOO_MANY]
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_FIRST_RETRY_S", 0.02)


@pytest.fixture
def swarm(scripted_server: ScriptedServer) -> Iterator[SwarmHarness]:
    one = SwarmHarness(scripted_server.port, resumable=True, message_rate=100.0, connect_timeout=5.0)
    yield one
    one.process.close()


def before_hello(swarm: SwarmHarness, scripted_server: ScriptedServer) -> ServerConnection:
    return scripted_server.accept(swarm)


def before_welcome(swarm: SwarmHarness, scripted_server: ScriptedServer) -> ServerConnection:
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    return conn


def half_a_welcome(swarm: SwarmHarness, scripted_server: ScriptedServer) -> ServerConnection:
    conn = before_welcome(swarm, scripted_server)
    conn.send_bytes(b'{"type":"welc')
    swarm.run_once()
    return conn


def garbage(swarm: SwarmHarness, scripted_server: ScriptedServer) -> ServerConnection:
    conn = before_welcome(swarm, scripted_server)
    conn.send_bytes(b'{"type":"welcome"}\n\xff\xfe\n')
    swarm.wait_until(lambda: swarm.process.errors["bad_frame_from_server"])
    return conn


def endless_line(swarm: SwarmHarness, scripted_server: ScriptedServer) -> ServerConnection:
    conn = before_welcome(swarm, scripted_server)
    conn.send_bytes(b"x" * 66000)
    swarm.wait_until(lambda: swarm.process.errors["endless_line_from_server"])
    return conn


@pytest.mark.parametrize("reach", [before_hello, before_welcome, half_a_welcome, garbage, endless_line])
@pytest.mark.parametrize("disconnect", [ServerConnection.close, ServerConnection.reset])
def test_connection_lost_before_welcome_is_retried(
    swarm: SwarmHarness,
    scripted_server: ScriptedServer,
    reach: Callable[[SwarmHarness, ScriptedServer], ServerConnection],
    disconnect: Callable[[ServerConnection], None],
) -> None:
    [bot] = swarm.start_bots(Lurker)
    disconnect(reach(swarm, scripted_server))
    scripted_server.accept(swarm).greet()
    swarm.wait_until(lambda: bot.up)
    counts = swarm.flush_counts()
    assert (counts["connect_failures"], counts["logins"], counts["cuts"]) == (1, 1, 0)
    assert swarm.process.connected == 1


@pytest.mark.parametrize("code", REFUSALS)
def test_refused_hello_is_retried(
    swarm: SwarmHarness, scripted_server: ScriptedServer, code: ErrorCode
) -> None:
    [bot] = swarm.start_bots(Chatter)
    conn = before_welcome(swarm, scripted_server)
    conn.send(Error(code=code, message="no"))
    swarm.wait_until(lambda: conn.received_lines() or conn.peer_closed, "the end of the refused connection")
    scripted_server.accept(swarm).greet()
    swarm.wait_until(lambda: bot.up)
    assert swarm.process.errors == {code.value: 1}
    assert swarm.flush_counts()["errors"] == (code is not ErrorCode.NAME_TAKEN)


def test_refused_connection_is_retried_and_counted(scripted_server: ScriptedServer) -> None:
    scripted_server.stop_listening()
    swarm = SwarmHarness(scripted_server.port)
    try:
        [bot] = swarm.start_bots(Lurker)
        swarm.wait_until(lambda: swarm.process.errors["ECONNREFUSED"] >= 2)
        assert not bot.had_session()
        assert swarm.process.final_report()["never_there"] == 1
        assert swarm.flush_counts()["connect_failures"] >= 2
    finally:
        swarm.process.close()


def test_silent_server_runs_into_the_connect_timeout(scripted_server: ScriptedServer) -> None:
    swarm = SwarmHarness(scripted_server.port, connect_timeout=0.05)
    try:
        swarm.start_bots(Lurker)
        before_welcome(swarm, scripted_server)
        scripted_server.accept(swarm)
        assert swarm.process.errors["no welcome within 0.05 s"] >= 1
    finally:
        swarm.process.close()


def test_bye_with_a_delay_postpones_the_reconnect(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    [bot] = swarm.start_bots(Lurker)
    conn = scripted_server.accept(swarm)
    conn.greet()
    swarm.wait_until(lambda: bot.up)
    said_ns = time.monotonic_ns()
    conn.send(Bye(reason=ByeReason.SHUTDOWN, after=0.6))
    conn.close()
    scripted_server.accept(swarm)
    assert time.monotonic_ns() - said_ns >= 0.6e9
    counts = swarm.flush_counts()
    assert (counts["byes"], counts["cuts"]) == (1, 1)


@pytest.mark.parametrize("disconnect", [ServerConnection.close, ServerConnection.reset, None])
def test_lost_session_is_resumed_and_messages_are_sent_again(
    swarm: SwarmHarness,
    scripted_server: ScriptedServer,
    disconnect: Callable[[ServerConnection], None] | None,
) -> None:
    # Given a bot that got two messages, and whose own is not acknowledged
    [bot] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    first = conn.greet(message_from(1, "ann", 1), message_from(2, "ann", 2))
    mine = conn.expect(Message)
    swarm.wait_until(lambda: swarm.count_of("delivered") == 2)
    # When its connection is lost, or cut
    if disconnect is None:
        bot.cut_connection()
    else:
        disconnect(conn)
    # Then it resumes its session from its position
    conn = scripted_server.accept(swarm)
    hello = conn.expect(Hello)
    assert hello.resume is not None
    assert hello.resume.session == first.session
    assert hello.resume.rooms == {"hall-0": 2}
    # And sends the unacknowledged message again
    conn.send(make_welcome(RoomState("hall-0", 2, 1), resumed=True, username=bot.name))
    again = conn.expect(Message)
    assert (again.ref, again.message) == (mine.ref, mine.message)
    # And continues from there, also if its message had been stored
    swarm.process.stop_sending()
    conn.send(message_from(3, "ann", 3, time.time_ns() - 10**9))
    others = [again, *(command for command in map(_command, conn.received_lines()) if command is not None)]
    seq = 4
    for message in others:
        conn.send(echo(bot.name, message, seq))
        seq += 1
    swarm.wait_until(lambda: not bot.pending or conn.received_lines())
    counts = swarm.flush_counts()
    assert (counts["cuts"], counts["resumed"], counts["not_resumed"]) == (1, 1, 0)
    assert counts["caught_up"] >= 1
    assert swarm.histograms["resume"].count == 1
    assert not any(swarm.merged_audit().counts.values())


def test_session_not_resumed_is_owed_nothing(swarm: SwarmHarness, scripted_server: ScriptedServer) -> None:
    [bot] = swarm.start_bots(Lurker)
    conn = scripted_server.accept(swarm)
    conn.greet(message_from(1, "ann", 1))
    swarm.wait_until(lambda: swarm.count_of("delivered") == 1)
    conn.close()
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    conn.send(make_welcome(RoomState("hall-0", 7, 1), username=bot.name), message_from(8, "ann", 8))
    swarm.wait_until(lambda: swarm.count_of("delivered") == 2)
    counts = swarm.flush_counts()
    assert (counts["resumed"], counts["not_resumed"], counts["logins"]) == (0, 1, 2)
    assert not any(swarm.merged_audit().counts.values())


def test_messages_of_a_session_not_resumed_may_be_stored_or_not(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    # Given three messages of a session that is gone
    [bot] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    for _ in range(3):
        conn.expect(Message)
    conn.reset()
    # When the second of them was stored, and the bot sends a fourth
    conn = scripted_server.accept(swarm)
    conn.expect(Hello)
    conn.send(make_welcome(RoomState("hall-0", 1, 1), username=bot.name))
    fourth = conn.expect(Message)
    swarm.process.stop_sending()
    assert int(fourth.ref or 0) > 3
    conn.send(echo(bot.name, fourth, 2))
    swarm.wait_until(lambda: swarm.count_of("acknowledged") == 1)
    # Then the others are not lost
    assert not swarm.merged_audit().counts["lost"]


def test_second_welcome_is_ignored(swarm: SwarmHarness, scripted_server: ScriptedServer) -> None:
    [bot] = swarm.start_bots(Lurker)
    conn = scripted_server.accept(swarm)
    conn.greet(make_welcome(), message_from(1, "ann", 1))
    swarm.wait_until(lambda: swarm.count_of("delivered") == 1)
    assert bot.up
    assert swarm.process.connected == swarm.flush_counts()["logins"] == 1


def test_next_bot_in_a_slot_continues_its_counters(
    swarm: SwarmHarness, scripted_server: ScriptedServer
) -> None:
    [bot] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    first = conn.expect(Message)
    conn.send(echo(bot.name, first, 1))
    swarm.wait_until(lambda: swarm.count_of("acknowledged"))
    bot.shut_down()
    [other] = swarm.start_bots(Chatter)
    conn = scripted_server.accept(swarm)
    conn.greet()
    second = conn.expect(Message)
    assert other.name == bot.name
    assert int(second.ref or 0) > int(first.ref or 0)


def test_shut_down_bots_release_everything(scripted_server: ScriptedServer) -> None:
    # Given bots in every state
    before = set(OPEN_FILES.iterdir())
    swarm = SwarmHarness(
        scripted_server.port, resumable=True, message_rate=100.0, direct_rate=100.0, slow_rate=1e6
    )
    bots = [
        *swarm.start_bots(Lurker, 3),
        *swarm.start_bots(Chatter, 3),
        *swarm.start_bots(Direct, 2),
        *swarm.start_bots(Slow, 2),
    ]
    conns = [scripted_server.accept(swarm) for _ in bots]
    for conn in conns[:7]:
        conn.greet()
    swarm.wait_until(lambda: swarm.process.connected == 7)
    conns[0].reset()
    conns[1].close()
    swarm.wait_until(lambda: swarm.process.connected == 5)
    # When they are shut down, twice
    for bot in [*bots, *bots]:
        bot.shut_down()
    # Then no connection, slot or fault is left, and no timer does anything
    assert swarm.process.connected == 0
    assert not swarm.process.bots
    assert not any(swarm.process.source_addresses.connection_counts.values())
    counts = swarm.flush_counts()["sent"]
    swarm.process.loop.run_for(0.3)
    assert swarm.flush_counts()["sent"] == counts
    assert not scripted_server.has_connection()
    assert swarm.merged_audit().passed
    swarm.process.close()
    for conn in conns:
        conn.sock.close()
    assert set(OPEN_FILES.iterdir()) == before


def _command(line: bytes) -> Message | None:
    command = decode_command(line)
    return command if isinstance(command, Message) else None
