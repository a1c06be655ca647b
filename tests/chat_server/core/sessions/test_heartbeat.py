from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands
from chat_protocol.dialects.plain_text import PLAIN_TEXT
from chat_server.core.sessions import heartbeat

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def tick(stage: Stage, seconds: float = 30.0) -> None:
    stage.clock.advance(seconds)
    stage.hub.heartbeat.tick()


def ping_of(peer: Peer) -> str:
    ping: str = peer.receive_one("ping")["id"]
    return ping


def test_heartbeat_pings_an_ndjson_session_every_interval(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage, 29.9)
    assert not ann.receive()
    tick(stage, 0.1)
    first = ping_of(ann)
    tick(stage, 0.1)
    assert not ann.receive()
    ann.execute(commands.Pong(id=first))
    tick(stage)
    assert ping_of(ann) != first


def test_heartbeat_pings_each_session_in_its_own_time(stage: Stage) -> None:
    ann = stage.enter("ann")
    stage.clock.advance(10)
    bob = stage.enter("bob")
    tick(stage, 20)
    assert ann.receive("ping")
    assert not bob.receive()
    tick(stage, 10)
    assert bob.receive("ping")
    assert not ann.receive()


def test_heartbeat_spreads_sessions_that_joined_together(stage: Stage) -> None:
    # Given many sessions that joined at the same time, as after a restart
    crowd = [stage.enter(f"bot{number}") for number in range(200)]
    tick(stage, 29.9)
    # When the loop ticks as it does
    pinged = []
    for _ in range(100):
        tick(stage, 0.1)
        answers = [(peer, ping["id"]) for peer in crowd for ping in peer.receive("ping")]
        for peer, ping in answers:
            peer.execute(commands.Pong(id=ping))
        pinged.append(len(answers))
    # Then no tick takes many of them, and each has its ping soon
    assert (
        max(pinged) <= heartbeat.EXTRA_SESSIONS_PER_TICK + heartbeat.BURST_FACTOR * len(crowd) * 0.1 / 30 + 1
    )
    assert sum(pinged) == len(crowd)
    assert sum(pinged[:75]) == len(crowd)  # a quarter of the interval
    # And so it stays
    for _ in range(300):
        tick(stage, 0.1)
        pinged.append(sum(len(peer.receive("ping")) for peer in crowd))
    assert sum(pinged[300:]) == len(crowd)
    assert max(pinged) < len(crowd) / 8


def test_heartbeat_after_a_late_tick_catches_up(stage: Stage) -> None:
    crowd = [stage.enter(f"bot{number}") for number in range(100)]
    tick(stage, 60)
    assert all(len(peer.receive("ping")) == 1 for peer in crowd)


def test_heartbeat_ends_a_session_after_two_missed_pings(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage)
    tick(stage)
    assert not ann.link.ended
    assert len(ann.receive("ping")) == 2
    tick(stage)
    assert ann.link.ended == "timeout"
    assert not ann.receive()


def test_heartbeat_keeps_a_slow_reader(stage: Stage) -> None:
    """Its pings may still be behind megabytes in its own machine's buffers."""
    ann = stage.enter("ann")
    ann.link.progressing = True
    for _ in range(5):
        tick(stage)
        assert not ann.link.ended
    ann.link.progressing = False
    tick(stage)
    tick(stage)
    assert ann.link.ended == "timeout"


def test_heartbeat_accepts_any_pong(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage)
    tick(stage)
    ann.execute(commands.Pong(id="what?"))
    tick(stage)
    tick(stage)
    assert not ann.link.ended
    tick(stage)
    assert ann.link.ended == "timeout"


def test_heartbeat_does_not_ping_other_dialects(stage: Stage) -> None:
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    before = guest.outbox.data
    for _ in range(5):
        tick(stage)
    assert guest.outbox.data == before
    assert guest.link.ended is None


def test_heartbeat_with_queued_bytes_ends_stalled_sessions_only(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage)
    tick(stage)
    ann.receive()
    ann.outbox.queued_bytes, ann.outbox.progress_at = 1, stage.clock.now
    for _ in range(4):  # 120 s: not more than the limit
        tick(stage)
        assert not ann.link.ended
    assert not ann.receive()  # no ping is piled up on what waits
    tick(stage)
    assert ann.link.ended == "stalled"


def test_heartbeat_after_slow_progress_starts_over(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage)
    tick(stage)
    for _ in range(10):
        ann.outbox.queued_bytes, ann.outbox.progress_at = 1, stage.clock.now
        tick(stage)
    ann.outbox.queued_bytes = 0
    tick(stage)  # the missed pings were behind all that: it gets two new ones
    tick(stage)
    assert not ann.link.ended
    tick(stage)
    assert ann.link.ended == "timeout"


def test_heartbeat_ends_stalled_sessions_of_every_dialect(stage: Stage) -> None:
    guest = stage.connect(PLAIN_TEXT)
    guest.execute(commands.Arrive())
    guest.outbox.queued_bytes, guest.outbox.progress_at = 1, stage.clock.now
    for _ in range(5):
        tick(stage)
    assert guest.link.ended == "stalled"


def test_heartbeat_ignores_paused_sessions(stage: Stage) -> None:
    ann = stage.enter("ann")
    tick(stage)
    tick(stage)
    ann.link.paused = True
    for _ in range(5):
        tick(stage)
    assert not ann.link.ended
    assert len(ann.receive("ping")) == 2
    ann.link.paused = False
    tick(stage)
    assert ann.link.ended == "timeout"


def test_heartbeat_forgets_a_closed_session(stage: Stage) -> None:
    ann = stage.enter("ann")
    ann.disconnect()
    tick(stage)
    assert not stage.hub.heartbeat._due


def test_heartbeat_goes_on_while_bytes_wait_for_the_fan_out(stage: Stage) -> None:
    # Given a session in a large room, in which something always waits to be sent, and which answers nothing
    ann = stage.enter("ann")
    for _ in range(3):
        assert not ann.link.ended
        ann.outbox.defer(100)
        tick(stage)
    # Then it is pinged, and ended
    assert len(ann.receive("ping")) == 2
    assert ann.link.ended == "timeout"
