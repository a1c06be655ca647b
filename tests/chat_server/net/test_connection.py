"""Every state of a connection, and every order of bytes, ends and stalls, without sockets and time."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_protocol.errors import ByeReason
from chat_server.core.sessions import detached
from chat_server.net.fan_out import A_FEW, SENDS_AT_ONCE, FanOut
from support.fakes.fake_transport import LoopPlayer
from support.fakes.slow_peer import SlowPeer

if TYPE_CHECKING:
    from chat_server.net.conftest import Play

PING = b'{"type":"ping","id":"1"}\n'
MESSAGE = b'{"type":"message","message":"hi","ref":"1"}\n'
SERVERS = b'{"type":"servers"}\n'


def is_over(play: Play) -> bool:
    """Whether everything of the connection is released."""
    return (
        play.loop.ended
        and "close" in play.peer.calls
        and not play.connections.registered
        and not play.connections.unnamed
        and all(watcher.closed or not watcher.active for watcher in play.loop.watchers)
        and play.loop.watchers[0].closed
    )


def test_end_of_input_ends_the_connection(play: Play) -> None:
    play.hello()
    play.send(b"")
    assert is_over(play)
    assert play.ended == ["closed_by_peer"]
    assert play.types == ["welcome"]
    assert play.peer.calls[-2:] == ["shutdown", "close"]


def test_end_of_input_completes_a_command_without_newline(play: Play) -> None:
    play.hello()
    play.send(PING.rstrip(), b"")
    assert play.types == ["welcome", "pong"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ConnectionResetError(), "reset"), (OSError(errno.ETIMEDOUT, "timed out"), f"errno_{errno.ETIMEDOUT}")],
)
def test_error_of_a_read_ends_the_connection(play: Play, error: OSError, reason: str) -> None:
    play.hello()
    play.peer.gone = True
    play.send(error)
    assert is_over(play)
    assert play.ended == [reason]


def test_readiness_without_data_is_waited_out(play: Play) -> None:
    play.send(BlockingIOError)
    play.hello()
    assert play.types == ["welcome"]


def test_bye_is_followed_by_a_linger_until_the_peer_closes(play: Play) -> None:
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    assert play.types == ["welcome", "bye"]
    assert (play.loop.waits_for, play.loop.timed_blocks) == ("input", 1)
    assert not is_over(play)
    play.send(PING, b"")  # what it still sends is read and dropped
    assert is_over(play)
    assert play.ended == ["shutdown"]
    assert play.types == ["welcome", "bye"]


def test_peer_that_does_not_close_after_bye_is_closed_in_time(play: Play) -> None:
    play.hello()
    play.connection.close_with_bye(ByeReason.KICKED)
    play.loop.run_callbacks()
    play.loop.end_timed_block()
    assert is_over(play)


def test_command_in_the_same_round_as_a_bye_is_read_in_the_linger(play: Play) -> None:
    # Given an interrupt that is due when the reader's watcher reports a command
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.peer.input.append(PING)
    play.loop.go_on()
    # Then nobody looks at the command, and the linger goes on
    play.loop.go_on()
    assert (play.loop.waits_for, play.loop.timed_blocks) == ("input", 1)
    assert play.types == ["welcome", "bye"]
    play.send(b"")
    assert is_over(play)


def test_second_bye_is_not_sent(play: Play) -> None:
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.connection.close_with_bye(ByeReason.KICKED)
    play.loop.run_callbacks()
    play.send(b"")
    assert play.types == ["welcome", "bye"]
    assert play.ended == ["shutdown"]


def test_last_bytes_wait_for_a_slow_peer(play: Play) -> None:
    play.peer.space = 0
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    assert (play.loop.waits_for, play.peer.sent) == ("event", b"")
    play.read_on()
    play.loop.go_on()
    assert play.types == ["welcome", "bye"]
    play.send(b"")
    assert is_over(play)


@pytest.mark.parametrize("says_bye", [True, False])
def test_bytes_that_wait_for_the_fan_out_are_sent_before_the_end(play: Play, says_bye: bool) -> None:
    # Given a message to a large room, of which this member has nothing yet
    play.hello()
    fan_out = FanOut(LoopPlayer(), 1000)
    fan_out.offer([SlowPeer(10_000).outbox for _ in range(SENDS_AT_ONCE)], b"to others")
    late = [play.connection.outbox, *(SlowPeer(10_000).outbox for _ in range(A_FEW))]
    fan_out.offer(late, b'{"type":"message"}\n')
    assert play.connection.outbox.deferred
    # When its connection ends, then it is sent first, and nothing is waited for
    if says_bye:
        play.connection.close_with_bye(ByeReason.SHUTDOWN)
        play.loop.run_callbacks()
    play.send(b"")
    assert is_over(play)
    assert play.types == ["welcome", "message", "bye"][: 3 if says_bye else 2]


def test_reader_waits_for_a_peer_that_does_not_read(play: Play) -> None:
    # Given a peer that asks and does not read
    play.peer.space = 0
    play.hello()
    play.send(SERVERS * 5)
    assert play.loop.waits_for == "event"
    assert play.is_paused()
    queued = play.connection.outbox.queued_bytes
    # When it reads
    play.read_on()
    assert play.peer.sent.count(b"\n") < 6
    play.settle(lambda: play.loop.waits_for == "input")
    # Then the rest of its commands is answered
    assert play.types == ["welcome", *["servers"] * 5]
    assert not play.is_paused()
    assert len(play.peer.sent) > queued


def test_outbox_over_twice_its_bound_ends_the_connection_without_bye(play: Play) -> None:
    play.peer.space = 0
    play.hello()
    for _ in range(10):
        play.connection.outbox.put(b"x" * 999)
    play.loop.run_callbacks()
    assert is_over(play) or play.loop.timed_blocks
    play.send(b"")
    assert is_over(play)
    assert play.ended == ["stalled"]
    assert play.peer.sent == b""


def test_reader_waits_while_the_ingest_is_full(play: Play) -> None:
    play.hello()
    messages = [b'{"type":"message","message":"%s"}\n' % (b"x" * 800) for _ in range(4)]
    play.send(b"".join(messages))
    assert play.loop.waits_for == "event"
    play.settle(lambda: play.loop.waits_for == "input")
    play.settle(lambda: play.types.count("message") == 4)


def test_commands_of_one_read_are_run_in_time_slices(play: Play) -> None:
    play.hello()
    play.clock.step = 0.002
    play.send(PING * 9)
    assert play.loop.waits_for == "turn"
    sent = play.types.count("pong")
    assert 0 < sent < 9  # the answers so far have been sent
    while play.loop.waits_for == "turn":
        play.loop.run_timers()
    assert play.types.count("pong") == 9


def test_error_in_a_handler_is_answered_and_ends_nothing(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play.hello()
    monkeypatch.setattr(play.router, "dispatch", lambda *_: 1 / 0)
    play.send(MESSAGE)
    monkeypatch.undo()
    play.send(PING)
    assert [(frame["type"], frame.get("code"), frame.get("ref")) for frame in play.frames[1:]] == [
        ("error", "internal", "1"),
        ("pong", None, None),
    ]
    assert [type(error) for error in play.errors] == [ZeroDivisionError]


def test_error_in_the_codec_ends_this_connection(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play.hello()
    monkeypatch.setattr(type(play.connection.codec), "receive", lambda *_: 1 / 0)
    play.send(PING)
    monkeypatch.undo()
    assert play.types[-1] == "error"
    play.send(b"")
    assert is_over(play)
    assert play.ended == ["internal"]


def test_stopping_server_reads_no_more_commands(play: Play) -> None:
    play.hello()
    play.context.stop_reading(5.0)
    play.send(PING)
    assert play.loop.waits_for == "event"
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.go_on()
    assert play.types == ["welcome", "bye"]
    play.loop.go_on()  # the unread command is dropped
    play.send(b"")
    assert is_over(play)


def test_lost_peer_is_noticed_by_its_reader_only(play: Play) -> None:
    play.hello()
    play.peer.gone = True
    play.send(PING)  # the answer cannot be sent
    assert play.connection.outbox.closed
    assert not play.loop.ended
    play.send(ConnectionResetError)
    assert is_over(play)


def test_closed_connection_is_detached_from_its_session(play: Play) -> None:
    play.hello()
    session = play.connection.session
    play.send(b"")
    assert session.link is detached.LINK
    assert session.outbox is detached.OUTBOX


def test_waiting_for_own_messages_comes_before_the_end(play: Play) -> None:
    play.hello()
    play.send(MESSAGE + b'{"type":"quit"}\n')
    assert play.loop.waits_for == "event"
    play.settle(lambda: play.loop.waits_for == "input")
    assert play.types == ["welcome", "message", "bye"]
    play.send(b"")
    assert is_over(play)
    assert play.ended == ["quit"]


def test_repr_shows_the_state_of_connection_outbox_and_session(play: Play) -> None:
    assert repr(play.connection) == (
        "<Connection 127.0.0.1:4242 ndjson open, <Session - - unnamed, 0 rooms>>"
    )
    play.peer.space = 0
    play.hello()
    session = play.connection.session
    assert repr(session) == f"<Session ann {session.id} active, 1 rooms>"
    outbox = play.connection.outbox
    assert repr(outbox) == f"<Outbox open, {outbox.queued_bytes} bytes queued>"
    assert repr(session.memberships["lobby"].room) == "<Room lobby head 0, 1 of 1 members live>"
    play.connection.close_with_bye(ByeReason.KICKED)
    assert repr(play.connection).startswith("<Connection 127.0.0.1:4242 ndjson kicked, <Session ann")
    assert "<Outbox closed" in repr(outbox)


CONVERSATION = (
    b'{"type":"hello","username":"ann"}\n' + PING + b"nonsense\n" + b'{"type":"join","room":"hall"}\n' + PING
)


@pytest.mark.parametrize("cut", range(1, len(CONVERSATION)))
def test_result_does_not_depend_on_reads(play: Play, cut: int) -> None:
    play.send(CONVERSATION[:cut], CONVERSATION[cut:], b"")
    assert is_over(play)
    assert play.types == ["welcome", "pong", "error", "joined", "pong"]


inputs = st.sampled_from(
    [PING, MESSAGE, SERVERS * 4, PING[:9], b"/help\n", b'{"username":"bob","message":"hi"}', b""]
)
errors = st.sampled_from([ConnectionResetError, BlockingIOError])
others = st.sampled_from(["bye", "stop", "commit", "gone", "read", "time", "ready", "drop"])
steps = st.one_of(
    st.tuples(st.just("input"), inputs | errors),
    st.tuples(st.just("space"), st.integers(0, 400)),
    st.tuples(others, st.none()),
)


@settings(max_examples=400)
@given(play_steps=st.lists(steps, max_size=25))
def test_connection_in_any_play_ends_and_releases_everything(
    make_play: type[Play], play_steps: list[tuple[str, object]]
) -> None:
    play = make_play()
    play.hello()
    for name, argument in play_steps:
        if play.loop.ended:
            break
        match name:
            case "input":
                play.peer.input.append(argument)  # type: ignore[arg-type]
            case "space":
                play.read_on(argument)  # type: ignore[arg-type]
            case "bye":
                play.connection.close_with_bye(ByeReason.SHUTDOWN)
            case "stop":
                play.context.stop_reading(1.0)
            case "commit":
                play.committer.commit()
            case "gone":
                play.peer.gone = True
            case "read":
                play.read_on()
            case "time" if play.loop.timed_blocks:
                play.loop.end_timed_block()
            case "drop":
                play.connection.outbox.discard()
        waits_for = play.loop.waits_for
        if (name == "ready" and waits_for == "input") or (waits_for == "event" and play.loop.waiting.is_set):
            play.loop.go_on()
        else:
            play.loop.run_callbacks()
    # Whatever has happened: once the peer has gone and the store works, nothing is left
    play.peer.gone = True
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    for _ in range(50):
        if play.loop.ended:
            break
        play.committer.commit()
        play.loop.run_callbacks()
        if play.loop.waits_for == "input":
            play.peer.input.appendleft(ConnectionResetError)
            play.loop.go_on()
        elif play.loop.waits_for == "sleep" or (play.loop.waits_for == "event" and play.loop.waiting.is_set):
            play.loop.go_on()
        elif play.loop.timed_blocks:
            play.loop.end_timed_block()
    assert is_over(play)
    assert len(play.ended) == 1
    assert not play.errors


def test_bug_of_the_transport_is_reported_and_ends_the_connection(play: Play) -> None:
    # Given a peer whose transport raises what no system call raises
    play.hello()
    play.peer.bug = ValueError("a bug")
    # When something is sent to it, in a delivery or as an answer
    play.send(PING)
    play.loop.run_callbacks()
    play.send(b"")
    assert is_over(play)
    # Then that is reported once, and the connection has ended
    assert play.errors == [play.peer.bug]
    assert play.ended == ["internal"]
