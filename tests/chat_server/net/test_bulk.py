"""Connections that send more than they may: they are left unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chat_protocol.errors import ByeReason
from chat_server.core.base.limits import Limits
from chat_server.net.linger import LINGER_PAUSE_S, LINGER_READ_BYTES
from chat_server.net.turns import FIRST_READ_BYTES

if TYPE_CHECKING:
    from chat_server.net.conftest import Play


def is_over(play: Play) -> bool:
    """Whether the connection is released."""
    return play.loop.ended and "close" in play.peer.calls and not play.connections.registered


def flood(play: Play, line: bytes) -> None:
    """Send so many bytes that the peer is not read for a while."""
    play.hub.limits = Limits(rate_messages=0, rate_bytes=1000, rate_bytes_burst=2000)
    play.send(line * (3000 // len(line)))


@pytest.mark.parametrize(
    ("hello", "line"),
    [
        (b'{"type":"hello","username":"ann"}\n', b'{"type":"pong","id":"x"}\n'),
        (b'{"type":"hello","username":"ann"}\n', b"\n"),
        (b'{"type":"hello","username":"ann"}\n', b"x"),
        (b'{"username":"ann","message":"hi"}', b" "),
        (b"hello there\n", b"\r\n"),
        (b'{"type":"pong","id":"x"}\n', b'{"type":"pong","id":"x"}\n'),  # without a name
        (b"", b"x"),  # without a dialect
        (b"", b" "),
    ],
)
def test_bytes_over_the_rate_are_left_unread_in_every_dialect(play: Play, hello: bytes, line: bytes) -> None:
    if hello:
        play.send(hello)
        play.settle(lambda: play.loop.waits_for == "input")
    flood(play, line)
    assert play.loop.waits_for == "event"
    assert play.is_paused()
    assert play.hub.stats.throttled == 1
    play.peer.input.append(line)
    # It is read again when it is out of debt, and not before
    play.clock.now += 0.5
    play.loop.end_timed_block()
    assert play.loop.waits_for == "event"
    play.clock.now += 120.0
    play.loop.end_timed_block()
    assert play.loop.waits_for == "input"
    assert not play.is_paused()
    assert play.peer.input
    play.loop.go_on()
    assert not play.peer.input


def test_peer_that_is_not_read_is_not_found_silent(play: Play) -> None:
    play.hello()
    session = play.connection.session
    play.clock.now += 31
    play.hub.heartbeat.tick()
    assert session.missed_pings == 1
    flood(play, b"\n")
    for _ in range(5):
        play.clock.now += 31
        play.hub.heartbeat.tick()
    play.loop.end_timed_block()
    assert session.missed_pings == 0
    assert play.types == ["welcome", "ping"]


def test_bye_wakes_a_reader_that_leaves_its_peer_unread(play: Play) -> None:
    play.hello()
    flood(play, b"\n")
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.go_on()
    assert play.types == ["welcome", "bye"]
    play.send(b"")
    assert is_over(play)


def test_lost_peer_wakes_a_reader_that_leaves_it_unread(play: Play) -> None:
    play.hello()
    flood(play, b"\n")
    play.peer.gone = True
    play.connection.outbox.put(b"x")
    play.loop.go_on()
    assert play.loop.waits_for == "input"
    play.send(ConnectionResetError)
    assert is_over(play)


def test_what_follows_a_bye_is_read_slowly(play: Play) -> None:
    play.hello()
    play.connection.close_with_bye(ByeReason.SHUTDOWN)
    play.loop.run_callbacks()
    play.send(b"x" * LINGER_READ_BYTES)
    assert (play.loop.waits_for, play.loop.waiting) == ("sleep", LINGER_PAUSE_S)
    play.loop.go_on()
    play.send(b"x", b"")
    assert is_over(play)


def test_first_read_of_a_connection_is_short(play: Play) -> None:
    play.peer.input.append(b"\n" * (3 * FIRST_READ_BYTES))
    play.loop.go_on()
    assert play.connection.bytes_in == FIRST_READ_BYTES
    play.loop.go_on()
    assert play.connection.bytes_in == 3 * FIRST_READ_BYTES
