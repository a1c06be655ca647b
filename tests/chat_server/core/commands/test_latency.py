from __future__ import annotations

from typing import TYPE_CHECKING

from chat_protocol import commands

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage


def pinged(stage: Stage, peer: Peer) -> str:
    stage.clock.advance(30)
    stage.hub.heartbeat.tick()
    ping: str = peer.receive_one("ping")["id"]
    return ping


def test_ping_with_an_id_of_any_type_is_answered_with_it(stage: Stage) -> None:
    ann = stage.enter("ann")
    for sent in ("x", 7, None):
        ann.execute(commands.Ping(id=sent, ref="p"))
        assert ann.receive_one("pong") == {
            "type": "pong",
            "id": sent,
            "timestamp": stage.clock.time(),
            "ref": "p",
        }


def test_pong_to_the_last_ping_is_a_sample(stage: Stage) -> None:
    ann, bob = stage.enter("ann"), stage.enter("bob")
    bob.link.progressing = True  # he answers no ping, but is not given up
    for milliseconds in (3, 1, 2):
        ping = pinged(stage, ann)
        stage.clock.advance(milliseconds / 1000)
        ann.execute(commands.Pong(id=int(ping)))  # a number is as good
        ann.execute(commands.Pong(id=ping))  # once
    bob.execute(commands.Rtt(username="ANN", ref="r"))
    report = bob.receive("rtt")[0]
    assert report["username"] == "ann"
    assert (round(report["last_ms"]), round(report["min_ms"]), report["samples"]) == (2, 1, 3)
    assert (round(report["p50_ms"]), round(report["p99_ms"])) == (2, 3)
    assert (report["tcp_ms"], report["ref"]) == (0.5, "r")
    assert sum(stage.hub.stats.rtt.values()) == 3


def test_pong_late_foreign_or_guessed_is_no_sample(stage: Stage) -> None:
    ann = stage.enter("ann")
    first = pinged(stage, ann)
    second = pinged(stage, ann)
    ann.execute(commands.Pong(id=first))
    ann.execute(commands.Pong(id="x"))
    ann.session.read_at = ann.session.ping_sent_at - 1  # it was read before the ping went out
    stage.router.dispatch(ann.session, commands.Pong(id=second))
    assert ann.session.rtt is None
    ann.execute(commands.Rtt())
    report = ann.receive_one("rtt")
    assert (report["samples"], report["last_ms"]) == (0, None)
