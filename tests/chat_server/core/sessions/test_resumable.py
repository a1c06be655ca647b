"""Resumable sessions: which are held after a lost connection, for how long, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from chat_protocol import commands
from chat_server.core.base.limits import Limits

if TYPE_CHECKING:
    from support.core_stage.peer import Peer
    from support.core_stage.stage import Stage

NO_RATES = Limits(rate_messages=0, rate_bytes=0)


def cut(peer: Peer, address_key: str = "") -> dict[str, Any]:
    """Lose the connection; return the welcome of the session."""
    peer.link.address_key = address_key
    peer.outbox.closed = True
    peer.disconnect()
    return next(frame for frame in peer.frames if frame["type"] == "welcome")


def back(stage: Stage, welcome: dict[str, Any]) -> dict[str, Any]:
    """Try to resume; return the first frame."""
    peer = stage.connect()
    resume = commands.Resume(session=welcome["session"], epoch=welcome["epoch"], rooms={"lobby": 0})
    peer.execute(commands.Hello(username=welcome["username"], resumable=True, resume=resume))
    return peer.frames[0]


def expire(stage: Stage, seconds: float) -> None:
    """Let time pass; the store commits the end of a session shortly before others see it."""
    for pause in (seconds, 1.0):
        stage.clock.advance(pause)
        stage.hub.resumable.tick()


def test_held_session_expires_after_the_hold_time(stage: Stage) -> None:
    first = cut(stage.enter("ann", resumable=True))
    stage.clock.advance(299)
    stage.hub.resumable.tick()
    assert back(stage, first)["resumed"] is True
    second = cut(stage.enter("bob", resumable=True))
    expire(stage, 301)
    assert back(stage, second)["resumed"] is False


def test_held_session_is_not_a_member_of_public_rooms(stage: Stage) -> None:
    bob = stage.enter("bob")
    cut(stage.enter("ann", resumable=True))
    assert len(stage.hub.rooms["lobby"].members) == 1
    bob.execute(commands.Who())
    assert [user["username"] for user in bob.receive("who")[0]["users"]] == ["bob"]
    assert stage.hub.resumable.held_count == 1


def test_session_without_welcome_is_not_held(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.outbox.acked = 10  # bytes, as far as the kernel knows
    cut(ann)
    assert stage.enter("ann").name == "ann"


def test_held_sessions_above_the_bound_expire_early(make_stage: type[Stage]) -> None:
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=2))
    welcomes = [cut(stage.enter(name, resumable=True)) for name in ("ann", "bob", "cid")]
    expire(stage, 0)
    assert [back(stage, welcome)["resumed"] for welcome in welcomes] == [False, True, True]


def test_held_sessions_of_an_address_evict_its_own_only(make_stage: type[Stage]) -> None:
    # Given a held session, and an address that reconnects again and again
    stage = make_stage(limits=structs.replace(NO_RATES, max_held=4, max_held_per_address=2))
    honest = cut(stage.enter("ann", resumable=True), "192.0.2.1")
    strangers = [cut(stage.enter(f"stranger{number}", resumable=True), "198.51.100.7") for number in range(9)]

    # Then that address loses its own oldest session, and no other does
    expire(stage, 0)
    assert stage.hub.resumable.held_count == 3
    assert back(stage, honest)["resumed"] is True
    assert [back(stage, welcome)["resumed"] for welcome in strangers] == [False] * 7 + [True] * 2
    assert stage.hub.resumable.held_count == 0
    assert not stage.hub.resumable._by_address


def test_held_session_after_a_rename_holds_the_new_name(stage: Stage) -> None:
    ann = stage.enter("ann", resumable=True)
    ann.execute(commands.Rename(username="anna"))
    welcome = cut(ann)
    assert stage.enter("ann").name == "ann"
    again = back(stage, welcome)
    assert (again["resumed"], again["username"]) == (True, "anna")


def test_held_session_that_is_kicked_is_closed(stage: Stage) -> None:
    welcome = cut(stage.enter("ann", resumable=True))
    stage.hub.lifecycle.kick(stage.hub.directory["ann"])
    assert back(stage, welcome)["code"] == "forbidden"


def test_held_session_that_expires_closes_its_conversations(stage: Stage) -> None:
    ann, bob = stage.enter("ann", resumable=True), stage.enter("bob")
    bob.send_message(to="ann")
    stage.commit()
    cut(ann)
    assert not bob.receive("closed")
    expire(stage, 301)
    assert bob.receive_one("closed")["by"] == "ann"
    stage.check()
